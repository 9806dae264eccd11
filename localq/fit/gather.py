"""The builds there are of a model: on the hub, found by search and read from listings, and on this machine.

Nothing but listings and one config.json is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from localq.errors import LocalqError, NotFoundError
from localq.fit.choose import Offer
from localq.labels.grammar import read_label
from localq.labels.label import Label

if TYPE_CHECKING:
    from localq.hub.listing import Found, Listing, RemoteFile

MOST_REPOSITORIES = 24  # listings read; the most downloaded come first


def same_model(asked: Label, found: Label) -> bool:
    """Whether what `asked` says of family, version, size and variant holds of `found`."""
    for field in ("family", "version", "parameters", "active_parameters"):
        wanted = getattr(asked, field)
        if wanted is not None and _plain(wanted) != _plain(getattr(found, field)):
            return False
    return _variant(asked) == _variant(found)


def _plain(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _variant(label: Label) -> str:
    """An instruction-tuned model is often named without saying so; `it` and `chat` mean the same."""
    word = (label.variant or "instruct").lower()
    return "instruct" if word in ("instruct", "it", "chat") else word


_MODEL_PIECES = ("family", "version", "base", "size", "word")


def words_for(label: Label) -> str:
    """What to search the hub for: the parts of the name that say which model, as they were written."""
    if label.family is None:
        return ""
    return " ".join(piece.text for piece in label.pieces if piece.kind in _MODEL_PIECES)


def from_hub(asked: Label, search: Callable[[str], Iterable[Found]], listing: Callable[[str], Listing]) -> list[Offer]:
    """Builds on the hub: one per GGUF variant, one per repository of safetensors.

    Raises:
        NotFoundError: nothing on the hub is the model asked for.
        LocalqError: the hub cannot be reached.
    """
    words = words_for(asked)
    if not words:
        raise NotFoundError(f"'{asked.text}' names no model family to search for.", "Write it like Qwen3-8B.")
    found = [f for f in search(words) if same_model(asked, read_label(f.repo))]
    if not found:
        raise NotFoundError(f"The hub has no build of '{words}'.", "Check the spelling: localq explain NAME")
    offers: list[Offer] = []
    for one in sorted(found, key=lambda f: -f.downloads)[:MOST_REPOSITORIES]:
        try:
            offers += from_listing(listing(one.repo), one.downloads)
        except LocalqError:  # one gated or broken repository must not hide the others
            continue
    return offers


def from_listing(listing: Listing, downloads: int = 0) -> list[Offer]:
    """What one repository offers, with the bytes of its weights."""
    from localq.hub.selection import gguf_builds, short_label

    builds = [b for b in gguf_builds(listing.files) if "mmproj" not in b.name.lower()]
    offers = []
    for build in builds:
        tag = short_label(build.name, builds)
        offers.append(Offer(f"{listing.repo}:{tag}", _merged(listing.repo, build.name), build.size, False, downloads))
    weights = [f for f in listing.files if f.path.endswith(".safetensors") and "/" not in f.path]
    if weights and not builds:
        label = read_label(listing.repo)
        offers.append(Offer(listing.repo, label, _main_weights(weights), False, downloads))
    return offers


def _main_weights(files: list[RemoteFile]) -> int:
    """Bytes of the shards named model*.safetensors, else of all: `consolidated*` is a second copy."""
    usual = [f for f in files if f.path.startswith("model")]
    return sum(f.size for f in usual or files)


def _merged(repo: str, file: str) -> Label:
    """A GGUF's name read, with what only its repository's name says (size, variant, imatrix) added."""
    inner, outer = read_label(file.rsplit("/", 1)[-1] + ".gguf"), read_label(repo)
    missing = {key: value for key, value in outer.to_dict().items() if getattr(inner, key) is None}
    return inner._replace(**missing)


def named(ref: str, label: Label) -> Offer | None:
    """The one build that a path or `demo` names, None for the name of a model."""
    if ref != "demo" and not os.path.exists(ref):
        return None
    from localq.checkpoints import open_checkpoint
    from localq.hub.refs import resolve

    with open_checkpoint(resolve(ref)) as checkpoint:
        known = label if label.parameters else label._replace(parameters=checkpoint.parameters)
        return Offer(ref, known, checkpoint.nbytes, True)


def from_here(asked: Label) -> list[Offer]:
    """Builds of the model on this machine, whichever program brought them."""
    from localq.hub.catalog import installed

    offers = []
    for entry in installed():
        label = read_label(entry.ref)
        if entry.container != "unfinished" and same_model(asked, label):
            nbytes = sum(
                os.path.getsize(f) for f in entry.files if f.endswith((".gguf", ".safetensors")) or "." not in f
            )
            offers.append(Offer(entry.ref, label, nbytes or entry.size, True))
    return offers


def merged(here: list[Offer], there: list[Offer]) -> list[Offer]:
    """Both, a build that is in both once: as it is here."""
    mine = {offer.ref.lower() for offer in here}
    return here + [offer for offer in there if offer.ref.lower() not in mine]


def config_of(offers: Iterable[Offer], read: Callable[[Offer], Mapping[str, Any] | None]) -> Mapping[str, Any]:
    """The config of the first build that has one; all builds of a model have the same sizes.

    Raises:
        NotFoundError: none has one.
    """
    for offer in sorted(offers, key=lambda o: (not o.here, o.label.container == "gguf", -o.downloads)):
        try:
            config = read(offer)
        except LocalqError:
            continue
        if config and config.get("model_type"):
            return config
    raise NotFoundError("None of the builds has a config, so their caches cannot be counted.", "localq fit MODEL:LABEL")
