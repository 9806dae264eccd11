"""The builds there are of a model: on the hub, found by search and read from listings, and on this machine.

Nothing but listings and one config.json is downloaded.
"""

from __future__ import annotations

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


def words_for(label: Label) -> str:
    """What to search the hub for: family, version and size, as repositories spell them."""
    from localq.labels.label import short

    model = f"{label.family or ''}{label.version or ''}".strip()
    return " ".join(word for word in (model, short(label.parameters)) if word)


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
    from dataclasses import fields, replace

    inner, outer = read_label(file.rsplit("/", 1)[-1] + ".gguf"), read_label(repo)
    missing = {
        f.name: getattr(outer, f.name)
        for f in fields(Label)
        if getattr(inner, f.name) is None and getattr(outer, f.name) is not None
    }
    return replace(inner, **missing)


def config_of(offers: Iterable[Offer], read: Callable[[str], Mapping[str, Any] | None]) -> Mapping[str, Any]:
    """The config.json of the first build that has one; all builds of a model have the same sizes.

    Raises:
        NotFoundError: none has one.
    """
    for repo in dict.fromkeys(offer.ref.partition(":")[0] for offer in offers):
        try:
            config = read(repo)
        except LocalqError:
            continue
        if config and config.get("model_type"):
            return config
    raise NotFoundError(
        "None of the builds has a config.json, so their caches cannot be counted.", "localq fit MODEL:LABEL"
    )
