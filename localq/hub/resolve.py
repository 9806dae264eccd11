"""Which repository of the hub a reference means: as it stands, or found by search and judged by its label.

A name without organisation is searched for. What is found is read with the same grammar as what was asked, and only a
repository that agrees in every field asked for, and is nothing else besides, counts as found; downloads decide among
equals if they decide clearly. Everything else is "did you mean".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from localq.errors import LocalqError, NotFoundError
from localq.hardware import machine
from localq.hub.listing import Found, read_listing, search
from localq.hub.refs import HubRef, cached_repos, parse
from localq.hub.selection import Wish, gguf_builds, select
from localq.labels.grammar import read_label
from localq.labels.label import Label

CLEARLY = 5  # times as many downloads as the next one make a clear winner
SHOWN = 5  # candidates that are listed
_WEIGHTS = {
    "family": 8.0, "version": 6.0, "parameters": 5.0, "active_parameters": 2.0, "variant": 3.0, "date": 1.0,
    "container": 3.0, "method": 4.0, "scheme": 3.0, "weight_bits": 2.0, "group_size": 1.0,
}  # fmt: skip
# Words about the packing or the upload, not the model.
_NEUTRAL = {
    "hf", "gemm", "gemv", "marlin", "sym", "asym", "quantized", "quantised", "quant", "quants", "prequantized", "calib",
    "static", "dynamic", "sharded", "split", "unsloth", "ggmlorg", "model", "weights", "channel", "block", "tensor",
    "group", "act", "order", "actorder", "mixed", "mix", "latest", "and", "with", "for", "from", "the",
}  # fmt: skip
_MODEL = ("family", "version", "parameters", "active_parameters", "variant", "date")
_PACKING = ("container", "method", "scheme", "weight_bits", "group_size")


class Candidate(NamedTuple):
    """A repository found, how well it agrees, and in what it differs ("27B, not 32B")."""

    repo: str
    downloads: int
    score: float
    differs: tuple[str, ...]
    same_name: bool


class NoClearMatchError(NotFoundError):
    """Nothing on the hub is exactly what was asked; `candidates` are the nearest, best first."""

    def __init__(self, message: str, hint: str, candidates: Sequence[Candidate] = ()) -> None:
        super().__init__(message, hint)
        self.candidates = tuple(candidates)


def find(ref: str, revision: str | None, say: Callable[[str], None]) -> HubRef:
    """The repository (and label) that `ref` means; a choice made is said.

    Raises:
        NoClearMatchError: nothing, or several things, answer to a name; the hint lists the nearest.
        LocalqError: the hub refuses or cannot be reached.
    """
    hub = parse(ref)
    if revision:
        hub = hub._replace(revision=revision)
    if hub.org:
        return hub
    known = [name for name in cached_repos() if name.rpartition("/")[2].lower() == hub.name.lower()]
    if len(known) == 1:
        say(f"localq: '{ref}' is {known[0]}, which is in the cache.")
        return _with_repo(hub, known[0])
    return _searched(hub, ref, say)


def _with_repo(hub: HubRef, repo: str, label: str = "") -> HubRef:
    org, _, name = repo.rpartition("/")
    return hub._replace(org=org, name=name, label=hub.label or label)


def _searched(hub: HubRef, ref: str, say: Callable[[str], None]) -> HubRef:
    asked = _asked(hub)
    ranked = rank(hub, asked)
    exact = [c for c in ranked if not c.differs]
    same = [c for c in exact if c.same_name]
    for group in (same, exact):
        group.sort(key=lambda c: -c.downloads)
        if group and (len(group) == 1 or group[0].downloads >= CLEARLY * max(group[1].downloads, 1)):
            more = f", {len(group) - 1} less downloaded of that name" if len(group) > 1 else ""
            say(f"localq: '{ref}' is {group[0].repo} ({_count(group[0].downloads)} downloads{more}).")
            label = str(asked.get("scheme", "")) if asked.get("container") == "gguf" else ""
            return _with_repo(hub, group[0].repo, label)
        if group:
            raise _several(ref, group, hub)
    raise nearest(ref, hub, ranked)


def _asked(hub: HubRef) -> dict[str, Any]:
    fields = read_label(hub.name).to_dict()
    if hub.label:
        packing = read_label(hub.label).to_dict()
        fields |= {key: packing[key] for key in _PACKING if key in packing}
    return fields


def _several(ref: str, group: Sequence[Candidate], hub: HubRef) -> NoClearMatchError:
    return NoClearMatchError(
        f"{len(group)} repositories of the hub answer to '{ref}', and none clearly more than the others.",
        f"Name one: {_listed(group, hub)}",
        group,
    )


def nearest(ref: str, hub: HubRef, ranked: Sequence[Candidate] | None = None) -> NoClearMatchError:
    """The error for a name nothing answers to, with the nearest real ones."""
    if ranked is None:
        ranked = rank(hub, _asked(hub))
    near = [c for c in ranked if c.score > 0][:SHOWN]
    if not near:
        return NoClearMatchError(f"The hub has no model like '{ref}'.", "Check the spelling, or give org/name.")
    return NoClearMatchError(f"The hub has no model '{ref}'.", f"Did you mean: {_listed(near, hub)}", near)


def rank(hub: HubRef, asked: dict[str, Any]) -> list[Candidate]:
    """What the hub finds for a name, best agreement first, then most downloaded."""
    found: dict[str, Found] = {}
    for result in search("", hub.org) if hub.org else ():  # a misspelt name of a known organisation
        found[result.repo] = result
    for words in _queries(hub, asked):
        for result in search(words):
            found.setdefault(result.repo, result)
        if any(_normal(r.rpartition("/")[2]) == _normal(hub.name) for r in found) and not hub.label:
            break
    further = _further(read_label(hub.name))
    judged = [_judge(result, hub, asked, further) for result in found.values()]
    return sorted(judged, key=lambda c: (-c.score, -c.downloads, c.repo))


def _queries(hub: HubRef, asked: dict[str, Any]) -> list[str]:
    """From the whole name to its family alone."""
    start = re.split(r"[-_ ](?=\d+(?:\.\d+)?[bmtBMT]\b|\d+x\d)", hub.name)[0]
    start = "-".join(start.split("-")[:2])
    size = re.search(r"\d+(?:\.\d+)?[bmtBMT]\b", hub.name)
    method = str(asked.get("method") or "")
    packing = "GGUF" if asked.get("container") == "gguf" else method or str(asked.get("scheme") or "")
    wanted = [
        hub.name,
        " ".join(filter(None, (start, size[0] if size else "", packing))),
        " ".join(filter(None, (start, packing))),
        start,
    ]
    return list(dict.fromkeys(wanted))


def _normal(name: str) -> str:
    return re.sub(r"[-_. ]+", "-", name.lower())


def _judge(found: Found, hub: HubRef, asked: dict[str, Any], words: set[str]) -> Candidate:
    name = found.repo.rpartition("/")[2]
    same = _normal(name) == _normal(f"{hub.name}-GGUF" if hub.label else hub.name)
    label = read_label(name)
    has = label.to_dict()
    if "family" not in asked:
        return _judge_by_letters(found, hub, same)
    score, differs = 0.0, []
    for field, weight in _WEIGHTS.items():
        part, difference = _compare(field, asked, has)
        score += weight * part
        if difference:
            differs.append(difference)
    further = _further(label)
    differs += [f"'{w}'" for w in sorted(further - words)] + [f"not '{w}'" for w in sorted(words - further)]
    score -= 3 * len(further - words) + len(words - further)
    if has.get("family", "").lower() != str(asked["family"]).lower():
        score = _alike(name, hub.name)
    return Candidate(found.repo, found.downloads, score, () if same else tuple(differs), same)


def _further(label: Label) -> set[str]:
    """Words of a name that make it another model though no field holds them: vl, mini, abliterated, what is unknown."""
    words = {w.lower() for w in label.unknown} | {p.text.lower() for p in label.pieces if p.kind == "word"}
    return words - _NEUTRAL


def _judge_by_letters(found: Found, hub: HubRef, same: bool) -> Candidate:
    """For names the grammar does not know."""
    alike = _alike(found.repo.rpartition("/")[2], hub.name)
    return Candidate(found.repo, found.downloads, alike, () if same else ("another name",), same)


def _alike(one: str, other: str) -> float:
    """How alike two names are letter by letter, 0 to 1; 0 for hardly."""
    import difflib

    ratio = difflib.SequenceMatcher(None, _normal(one), _normal(other)).ratio()
    return ratio if ratio > 0.6 else 0.0


def _compare(field: str, asked: dict[str, Any], has: dict[str, Any]) -> tuple[float, str]:
    """Agreement of one field from -1 to 1, and the difference in words."""
    want, got = asked.get(field), has.get(field)
    if field in ("scheme", "weight_bits", "group_size") and asked.get("container") == "gguf" and not has.get("scheme"):
        return 0.0, ""  # the builds of a GGUF repository are files in it
    if want is None and got is None:
        return 0.0, ""
    if want is None:
        plain = not any(asked.get(key) is not None for key in _PACKING)
        other = got if field in _MODEL or plain else None
        if other == "instruct" or other is None:
            return 0.0, ""  # instruct is what a model without further words mostly is; more precise packing is no other
        return -1.0 if field == "variant" else -0.3, _shown(field, got)
    if got is None:
        return 0.0, f"not {_shown(field, want)}"
    if str(want).lower() == str(got).lower():
        return 1.0, ""
    words = f"{_shown(field, got)}, not {_shown(field, want)}"
    if field == "parameters":
        return 0.6 * min(want, got) / max(want, got), words
    return -1.0 if field == "variant" else -0.3, words


def _shown(field: str, value: Any) -> str:
    if field in ("parameters", "active_parameters"):
        from localq.labels.label import short

        return short(value) + (" active" if field == "active_parameters" else "")
    if field in ("weight_bits", "group_size"):
        return f"{value} bits" if field == "weight_bits" else f"groups of {value}"
    return str(value)


def _listed(candidates: Sequence[Candidate], hub: HubRef) -> str:
    from concurrent.futures import ThreadPoolExecutor

    some = list(candidates[:SHOWN])
    with ThreadPoolExecutor(len(some)) as pool:
        sizes = list(pool.map(lambda c: _size(c.repo, hub), some))
    words = []
    for candidate, nbytes in zip(some, sizes, strict=True):
        facts = [w for w in (nbytes, *candidate.differs[:3]) if w]
        words.append(f"{candidate.repo} ({'; '.join(facts)})" if facts else candidate.repo)
    more = f" and {len(candidates) - SHOWN} more" if len(candidates) > SHOWN else ""
    return ", ".join(words) + more


def _size(repo: str, hub: HubRef) -> str:
    """Bytes of what would be fetched, and whether such weights fit this machine; "" where that cannot be said."""
    try:
        listing = read_listing(repo)
        builds = gguf_builds(listing.files)
        if builds and not hub.label:
            small, large = builds[0].size, builds[-1].size
            return f"{small / 1e9:.2f} to {large / 1e9:.2f} GB{_too_large(small)}"
        files = select(listing, Wish(label=hub.label if builds else ""), lambda index: _by_name(listing.files))
    except LocalqError:
        return ""
    nbytes = sum(f.size for f in files)
    return f"{nbytes / 1e9:.2f} GB{_too_large(nbytes)}"


def _too_large(nbytes: int) -> str:
    """Said of weights alone that are more than the memory a model may have here; `localq fit` counts the rest."""
    found = machine()
    limit = found.gpu_memory or found.memory
    return f", too large for the {limit / 1e9:.0f} GB here" if limit and nbytes > limit else ""


def _by_name(files: Sequence[Any]) -> dict[str, str]:
    """For an estimate: every shard by its name, instead of fetching the index."""
    return {f.path: f.path for f in files if re.fullmatch(r"model[^/]*\.safetensors", f.path)}


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number / 1e3:.0f} k" if number >= 1000 else str(number)
