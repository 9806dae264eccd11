"""A name taken apart: the address around it, and the tokens in it. Linear in its length."""

from __future__ import annotations

import re
from typing import NamedTuple

LONGEST = 48  # characters of a token that means anything; longer ones are unknown without being looked at

_URL = re.compile(
    r"^(?:hf://|(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co|ollama\.com|registry\.ollama\.ai|modelscope\.cn)/)"
    r"(?:models/)?",
    re.I,
)
_WORDS = re.compile(
    r"[^\s\-_.,;:/\\()\[\]{}+#@!?&='\"|<>*~^%$`]+(?:(?<=[0-9])\.(?=[0-9])[^\s\-_.,;:/\\()\[\]{}+#@!?&='\"|<>*~^%$`]+)*"
)
_FILE = re.compile(r"\.(?:gguf|safetensors|ggml|bin|pt|npz)$", re.I)


class Address(NamedTuple):
    """Where a name points: organisation, the repository's (or model's) name, a file in it, a tag beside it."""

    organisation: str = ""
    name: str = ""
    file: str = ""
    tag: str = ""


class Token(NamedTuple):
    """A word of a name in lower case, as written, and where it starts."""

    low: str
    text: str
    start: int


def address(ref: str) -> Address:
    """Split `org/name`, `org/name:TAG`, `name@TAG`, `hf://` and web addresses, and paths of files."""
    ref = ref.strip()
    url = _URL.match(ref)
    if url:
        return _from_url([p for p in ref[url.end() :].split("?")[0].split("#")[0].split("/") if p])
    if "\\" in ref or ref.startswith(("/", "./", "../", "~")):
        bits = [p for p in re.split(r"[/\\]", ref) if p]
        return _tagged(bits[-1]) if bits else Address()
    return _from_url([p for p in ref.split("/") if p])


def _from_url(bits: list[str]) -> Address:
    """`[org, name, (blob, revision,) folders..., file]`, or `[library, name]` of Ollama."""
    if len(bits) < 2:
        return _tagged(bits[0]) if bits else Address()
    organisation = "" if bits[0].lower() == "library" else bits[0]
    if _FILE.search(bits[1]) and len(bits) == 2:
        folder = re.search("[0-9]", bits[0]) and _plain(bits[0]) in _plain(bits[1])  # Q4_K_M/NAME-Q4_K_M-00001-of-...
        return Address("" if folder else organisation, file=bits[1])
    found = _tagged(bits[1])
    rest = bits[4:] if len(bits) > 3 and bits[2] in ("blob", "resolve", "raw", "tree") else bits[2:]
    return found._replace(organisation=organisation, file=rest[-1] if rest else "")


def _plain(text: str) -> str:
    return re.sub(r"[\s_]", "-", text.lower())


def _tagged(name: str) -> Address:
    for mark in (":", "@"):
        if mark in name:
            name, _, tag = name.partition(mark)
            return Address(name=name, tag=tag)
    return Address(file=name) if _FILE.search(name) else Address(name=name)


def tokens(text: str) -> list[Token]:
    """Words between separators; a dot between digits stays (3.6), unless what follows is a word of its own."""
    found = []
    for match in _WORDS.finditer(text):
        found += _split_numbers(match[0], match.start())
    return found


def _split_numbers(word: str, start: int) -> list[Token]:
    """`3.6.27B` is 3.6 and 27B; `1.0528` is 1 and 0528; `0.6B`, `2.9.3` and `4.65bpw` stay."""
    parts = word.split(".")
    if len(parts) == 1 or len(word) > LONGEST:
        return [Token(word.lower(), word, start)]
    cuts = [i for i in range(1, len(parts)) if re.match(r"[0-9]{4}", parts[i])]
    if len(parts) > 2 and not re.fullmatch(r"[0-9]+", parts[-1]):
        cuts.append(len(parts) - 1)
    cuts += [i + 1 for i in cuts if i + 1 < len(parts)]
    found, run = [], [parts[0]]
    for i, part in enumerate(parts[1:], 1):
        if i in cuts:
            found.append(".".join(run))
            run = [part]
        else:
            run.append(part)
    found.append(".".join(run))
    out = []
    for text in found:
        out.append(Token(text.lower(), text, start))
        start += len(text) + 1
    return out
