"""Names read into facts: `read_label`. Pure: no file, no network; linear in the name's length, and it never raises.

A name is cut into words; at each word the readers of `schemes` and `model_words` and the tables of `words` are asked
in turn. What none of them knows is the family where no family was found yet, else it is listed as unknown. Case and
the separators - _ . space do not matter.
"""

from __future__ import annotations

import re
from typing import Any

from localq.labels.label import KEYS, Label, Piece
from localq.labels.meaning import settle
from localq.labels.model_words import (
    context_at,
    date_at,
    plain_version_at,
    shard_at,
    size_at,
    version_at,
)
from localq.labels.schemes import Found, cache_at, group_at, scheme_at
from localq.labels.tokens import LONGEST, Token, address, tokens
from localq.labels.words import CONTAINERS, FAMILIES, MAKERS, METHODS, NAMED_VERSIONS, PLAIN, VARIANTS

LONGEST_NAME = 512  # characters; no file system or hub allows longer names, and what stands behind is not read
MOST_WORDS = 48
_WITHOUT_DIGITS = frozenset(
    ("ud", "group", "groupsize", "gs", "g", "kv", "mixed")
)  # words that may begin a structured part


def read_label(name: str) -> Label:
    """What a name of a model, a file or a quantisation says, and nothing it does not say.

    `name` may be a GGUF file's name, a repository (`org/name`), a repository with a label (`org/name:Q4_K_M`), a tag
    as Ollama or LM Studio write them, a hub address, a path, or a bare label (`IQ4_XS`). Never raises.
    """
    where = address(name[:LONGEST_NAME])
    readings = [_Reader(text, may_name=named).read() for text, named in _texts(where) if text]
    facts: dict[str, Any] = {"organisation": where.organisation} if where.organisation else {}
    facts["pieces"] = [Piece(where.organisation, "organisation", where.organisation)] if where.organisation else []
    facts["unknown"] = []
    return _label(name, _merged(facts, readings))


def _texts(where: Any) -> list[tuple[str, bool]]:
    """The parts of an address that hold words, and whether a family may be in them."""
    return [(where.name, True), (where.tag, not where.name), (where.file, not where.name)]


def _merged(facts: dict[str, Any], readings: list[_Reader]) -> dict[str, Any]:
    """A file's or a tag's facts win over the repository's: it is the nearer name."""
    for reader in readings:
        for key, value in reader.facts.items():
            if key in ("variants", "methods"):
                facts[key] = list(dict.fromkeys([*facts.get(key, []), *value]))
            elif key not in ("family", "version") or key not in facts:
                facts[key] = value
        facts["pieces"] += reader.pieces
        facts["unknown"] += reader.unknown
    return facts


def _label(name: str, facts: dict[str, Any]) -> Label:
    notes = settle(facts)
    if len(name) > LONGEST_NAME:
        notes.append(f"Only the first {LONGEST_NAME} characters were read.")
    known = {key: facts[key] for key in KEYS if facts.get(key) is not None}
    unknown = tuple(dict.fromkeys(facts["unknown"]))
    return Label(name, **known, unknown=unknown, notes=tuple(notes), pieces=tuple(facts["pieces"]))


class _Reader:
    """One text read from left to right."""

    def __init__(self, text: str, may_name: bool) -> None:
        self.text = text
        self.tokens: list[Token] = tokens(text)[:MOST_WORDS]
        self.words = [t.low if len(t.low) <= LONGEST else "" for t in self.tokens]
        self.may_name = may_name
        self.facts: dict[str, Any] = {}
        self.pieces: list[Piece] = []
        self.unknown: list[str] = []
        self.after_family = False  # a plain number here is a version

    def read(self) -> _Reader:
        i = 0
        while i < len(self.words):
            i += self._step(i) or self._unknown(i)
        return self

    def _step(self, i: int) -> int:
        """Read what stands at word `i`; the number of words taken, 0 for none."""
        if not self.words[i]:
            return 0
        for read in (self._family, self._version, self._structured, self._tabled):
            taken = read(i)
            if taken:
                return taken
        return 0

    def _take(self, i: int, taken: int, kind: str, value: str) -> int:
        last = self.tokens[i + taken - 1]
        self.pieces.append(Piece(self.text[self.tokens[i].start : last.start + len(last.text)], kind, value))
        return taken

    # -- families and versions ------------------------------------------------------------------

    def _family(self, i: int) -> int:
        """A known family, with its version where that is attached or follows."""
        if i == 0 and len(self.words) > 2 and "".join(self.words[:2]) in MAKERS:
            return self._take(0, 2, "maker", "")
        named = _known_family(self.words, i)
        if not named:
            return 0
        taken, family, version = named
        if self._is_maker(i, taken, family):
            return self._take(i, taken, "maker", self.words[i])
        if "family" in self.facts:
            again = self.facts["family"] == family and "version" not in self.facts
            if again and version:
                self.facts["version"] = version
            follow = plain_version_at(self.words, i + taken) if i + taken < len(self.words) and not version else None
            return self._take(i, taken + (follow[0] if follow else 0), "base", family)
        self.facts["family"] = family
        if version:
            version, suffix = re.fullmatch(r"([0-9.]+n?)(.*)", version).groups()  # type: ignore[union-attr]
            self.facts["version"] = version
            if suffix in VARIANTS:
                self.facts["variants"] = [VARIANTS[suffix]]
        self.after_family = True
        return self._take(i, taken, "family", family)

    def _is_maker(self, i: int, taken: int, family: str) -> bool:
        """Whether this is the maker's name before the family's: Qwen_Qwen3-8B, NVIDIA-Nemotron."""
        follow = _known_family(self.words, i + taken)
        return follow is not None and follow[1] == family and i == 0

    def _version(self, i: int) -> int:
        found = version_at(self.words, i)
        named = NAMED_VERSIONS.get(self.facts.get("family", ""), ())
        if not found and "family" in self.facts and "version" not in self.facts:
            line = re.fullmatch(r"(small|medium|large|mini|nano)([1-9](?:\.[0-9])?)", self.words[i])
            found = (1, {"version": line[2]}) if line else None  # mistral-small3.2
        if not found and self.after_family and "version" not in self.facts:
            found = (1, {"version": _named(self.words[i])}) if self.words[i] in named else None
            found = found or plain_version_at(self.words, i)
        if not found:
            return 0
        if "version" in self.facts:
            return self._take(i, found[0], "revision", found[1]["version"])
        self.facts["version"] = found[1]["version"]
        return self._take(i, found[0], "version", found[1]["version"])

    # -- readers and tables -----------------------------------------------------------------------

    def _structured(self, i: int) -> int:
        if self.words[i] not in _WITHOUT_DIGITS and not _DIGIT.search(self.words[i]):
            return 0
        for kind, reader in _READERS:
            found: Found = reader(self.words, i)
            if found:
                self.after_family = False
                return self._facts(i, kind, *found)
        return 0

    def _facts(self, i: int, kind: str, taken: int, facts: dict[str, Any]) -> int:
        if kind == "scheme":
            return self._scheme(i, taken, facts)
        if kind == "size" and self._is_context(facts) and self.facts.get("family") != "OLMoE":
            return self._take(i, taken, "context", self.words[i])
        if self.facts.get("family") == "OLMoE" and "parameters" in facts and "parameters" in self.facts:
            self.facts["active_parameters"] = self.facts.pop("parameters")  # OLMoE-1B-7B: 1B of 7B at a time
        for key, value in facts.items():
            self.facts.setdefault(key, value)
        return self._take(i, taken, kind, "-".join(str(v) for v in facts.values()))

    def _is_context(self, facts: dict[str, Any]) -> bool:
        """1M behind a size is a context length, 4T a number of training tokens."""
        return "parameters" in self.facts and facts.get("parameters", 0) != 0 and len(facts) == 1

    def _scheme(self, i: int, taken: int, facts: dict[str, Any]) -> int:
        self.facts.setdefault("schemes", []).append((facts, self._about_part(i + taken)))
        return self._take(i, taken, "scheme", facts["scheme"])

    def _about_part(self, i: int) -> bool:
        """Whether the scheme before word `i` is that of the embeddings or the output head only."""
        return i < len(self.words) and self.words[i] in ("emb", "embd", "embed", "embeddings", "head", "output", "kv")

    def _tabled(self, i: int) -> int:
        pair = "".join(self.words[i : i + 2])
        for taken, word in ((2, pair), (1, self.words[i])):
            if i + taken > len(self.words):
                continue
            for read in (self._method, self._container, self._imatrix, self._variant, self._plain):
                if read(i, taken, word):
                    return taken
        return 0

    def _method(self, i: int, taken: int, word: str) -> bool:
        if word not in METHODS:
            return False
        self.facts.setdefault("methods", []).append(METHODS[word])
        self.after_family = False
        return bool(self._take(i, taken, "method", METHODS[word]))

    def _container(self, i: int, taken: int, word: str) -> bool:
        if taken == 2 or word not in CONTAINERS:
            return False
        self.facts.setdefault("containers", []).append(CONTAINERS[word])
        self.after_family = False
        return bool(self._take(i, taken, "container", CONTAINERS[word]))

    def _imatrix(self, i: int, taken: int, word: str) -> bool:
        if taken == 1 and word == "ud":
            self.facts["dynamic"] = True
            return bool(self._take(i, 1, "dynamic", "yes"))
        if taken == 1 and word == "i1":
            follow = self.words[i + 1] if i + 1 < len(self.words) else ""
            if follow != "gguf" and not (follow and scheme_at(self.words, i + 1)):
                return False
        elif taken == 2 or word not in ("imat", "imatrix"):
            return False
        self.facts["imatrix"] = True
        return bool(self._take(i, taken, "imatrix", "yes"))

    def _variant(self, i: int, taken: int, word: str) -> bool:
        if taken == 1 and word == "pt" and self.facts.get("family") in ("Gemma", "PaliGemma", "MedGemma"):
            word = "base"
        if taken == 2 or word not in VARIANTS:
            return False
        if word in ("embed", "embedding") and "schemes" in self.facts:
            return False
        if self._begins_a_name(i):
            return False
        variants = self.facts.setdefault("variants", [])
        if VARIANTS[word] not in variants:
            variants.append(VARIANTS[word])
        return bool(self._take(i, taken, "variant", VARIANTS[word]))

    def _begins_a_name(self, i: int) -> bool:
        """Math-IIO, Coder-X: at the head of an unknown name such a word belongs to it."""
        follow = self.words[i + 1] if i + 1 < len(self.words) else ""
        unknown = _is_name(follow) and not self._known(i + 1) and not _known_family(self.words, i + 1)
        return i == 0 and self.may_name and "family" not in self.facts and unknown

    def _plain(self, i: int, taken: int, word: str) -> bool:
        if taken == 2:
            return False
        if word in MAKERS and i == 0 and len(self.words) > 1:
            return bool(self._take(i, 1, "maker", word))
        if word not in PLAIN and not (re.fullmatch(r"h[4-8]", word) and self.facts):
            return False
        if word == "unquantized":
            self.facts["unquantized"] = True
        return bool(self._take(i, 1, "word", PLAIN.get(word, f"output head in {word[1:]} bits")))

    # -- the rest -----------------------------------------------------------------------------------

    def _unknown(self, i: int) -> int:
        """Unknown words are the family where none was found, a run of them together; else they are listed."""
        if self.may_name and "family" not in self.facts and (run := self._run(i)):
            last = self.tokens[i + run - 1]
            written = self.text[self.tokens[i].start : last.start + len(last.text)]
            attached = (
                re.fullmatch(r"(.*?[^\W\d_]{3})(v?)([0-9]{1,2}(?:\.[0-9]{1,2})?)", written)
                if len(written) < 64
                else None
            )
            if attached:
                self.facts.setdefault("version", attached[3])
                written = attached[1]
            self.facts["family"] = re.sub(r"[\s_.]+", "-", written)
            self.after_family = True
            return self._take(i, run, "family", self.facts["family"])
        self.unknown.append(self.tokens[i].text[:LONGEST])
        return self._take(i, 1, "unknown", "")

    def _run(self, i: int) -> int:
        """How many words from `i` on are nothing but words, at most six."""
        run = 0
        while run < 6 and i + run < len(self.words) and _is_name(self.words[i + run]):
            if run and (self._known(i + run) or plain_version_at(self.words, i + run)):
                break
            run += 1
        return run

    def _known(self, i: int) -> bool:
        words, word = self.words, self.words[i]
        tables = (METHODS, CONTAINERS, VARIANTS, PLAIN)
        structured = any(reader(words, i) for _, reader in _READERS) or version_at(words, i)
        return bool(structured or word in ("ud", "i1", "imat", "imatrix") or any(word in t for t in tables))


_DIGIT = re.compile("[0-9]")


def _named(version: str) -> str:
    """R1, K2, but 3n."""
    return version if version[0].isdigit() else version.upper()


def _is_name(word: str) -> bool:
    """Three letters or more in a row: a word, not a code like `L3`."""
    return re.search(r"[^\W\d_]{3}", word) is not None


def _known_family(words: list[str], i: int) -> tuple[int, str, str] | None:
    """Words taken, the family, and a version attached to it."""
    if i >= len(words):
        return None
    for taken in (3, 2, 1):
        joined = "".join(words[i : i + taken])
        if i + taken <= len(words) and len(joined) <= LONGEST and joined in FAMILIES:
            return taken, FAMILIES[joined], ""
    attached = re.fullmatch(r"([a-z]{2,})v?([0-9]{1,2}(?:\.[0-9]{1,2})*n?)([a-z]*)", words[i])
    if attached and attached[1] in FAMILIES and (not attached[3] or attached[3] in PLAIN or attached[3] in VARIANTS):
        more = plain_version_at([attached[2], *words[i + 1 : i + 3]], 0) if attached[2].isdigit() else None
        if more and more[0] == 2 and not attached[3]:  # internlm2_5
            return 2, FAMILIES[attached[1]], more[1]["version"]
        return 1, FAMILIES[attached[1]], attached[2] + attached[3]
    return None


_READERS = (
    ("shard", shard_at),
    ("scheme", scheme_at),
    ("group_size", group_at),
    ("kv_bits", cache_at),
    ("size", size_at),
    ("date", date_at),
    ("context", context_at),
)
