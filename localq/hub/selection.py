"""Which files of a repository a model needs: one GGUF with all its shards, or one set of safetensors with its config.

Repositories hold much that no run needs: other builds, `original/` and `consolidated*` copies, pickles, ONNX, pictures.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from localq.errors import CheckpointError, NotFoundError, UnsupportedError, UsageError
from localq.hub.listing import Listing, RemoteFile

SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
_BESIDE = (".json", ".jinja", ".model", ".tiktoken")  # config, tokenizer, chat template, quantisation settings
# The last two are the vocabularies of PLaMo and RWKV
_BESIDE_NAMES = ("merges.txt", "vocab.txt", "bpe.codes", "tokenizer.jsonl", "rwkv_vocab_v20230424.txt")
_MAX_BESIDE = 1 << 26
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
INDEX = ".safetensors.index.json"


class Build(NamedTuple):
    """One way a repository offers its model; `name` is the files' common stem with its folder."""

    name: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        return sum(f.size for f in self.files)


class Wish(NamedTuple):
    """What was asked for beyond the repository's name."""

    label: str = ""
    file: str = ""
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    mmproj: bool = False


def select(listing: Listing, wish: Wish, read_index: Callable[[RemoteFile], dict[str, str]]) -> tuple[RemoteFile, ...]:
    """The files to fetch.

    Args:
        read_index: fetches a safetensors index and gives its weight map (tensor name -> file).

    Raises:
        UsageError: several GGUF builds fit; they are listed with their sizes.
        NotFoundError: none fits.
        UnsupportedError: weights in containers localq does not read.
        CheckpointError: shards are missing from the repository.
    """
    if wish.include:
        chosen = [f for f in listing.files if _fits(f.path, wish.include)]
        if not chosen:
            raise NotFoundError(f"No file of '{listing.repo}' fits {' '.join(wish.include)}.", _sample(listing))
    elif wish.file:
        chosen = _one_file(listing, wish.file)
    elif wish.label or not _root_safetensors(listing):
        chosen = list(one_gguf(listing, wish.label).files)
    else:
        chosen = _safetensors(listing, read_index)
    if wish.mmproj:
        chosen += [f for f in _projector(listing) if f not in chosen]
    kept = tuple(f for f in chosen if not _fits(f.path, wish.exclude))
    if not kept:
        raise UsageError("Nothing is left to fetch after --exclude.")
    return kept


def _fits(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(path, p + "*" if p.endswith("/") else p) for p in patterns)


def _sample(listing: Listing) -> str:
    names = [f.path for f in listing.files[:6]]
    return f"It has {', '.join(names)}{' ...' if len(listing.files) > 6 else ''}." if names else "It is empty."


def _one_file(listing: Listing, path: str) -> list[RemoteFile]:
    """The file of a pasted address; a GGUF shard brings its others."""
    file = listing.file(path)
    if file is None:
        folder = [f for f in listing.files if f.path.startswith(path.rstrip("/") + "/")]
        if folder:
            return folder
        raise NotFoundError(f"'{listing.repo}' has no file '{path}'.", _sample(listing))
    for build in gguf_builds(listing.files):
        if file in build.files:
            return list(_whole(build, listing.repo).files)
    return [file]


def gguf_builds(files: Sequence[RemoteFile]) -> list[Build]:
    """Every GGUF model of a listing, shards together, in the order of their size."""
    groups: dict[str, list[RemoteFile]] = {}
    for file in files:
        base = file.path.rpartition("/")[2].lower()
        if base.endswith(".gguf") and "mmproj" not in base and "imatrix" not in base:
            groups.setdefault(SHARD.sub("", file.path[: -len(".gguf")]), []).append(file)
    builds = [Build(name, tuple(sorted(group))) for name, group in groups.items()]
    return sorted(builds, key=lambda b: (b.size, b.name))


def one_gguf(listing: Listing, label: str) -> Build:
    """The one GGUF build that carries `label` (any, if empty); errors as in `select`."""
    builds = gguf_builds(listing.files)
    if not builds:
        raise _no_gguf(listing, label)
    fitting = [b for b in builds if has_label(b.name, label)]
    ending = [b for b in fitting if label and b.name.lower().endswith(label.lower())]
    if len(fitting) > 1 and len(ending) == 1:
        fitting = ending
    if len(fitting) == 1:
        return _whole(fitting[0], listing.repo)
    if fitting:
        what = f"'{listing.repo}:{label}' fits" if label else f"'{listing.repo}' has"
        usual = next((short_label(b.name, builds) for b in fitting if has_label(b.name, "Q4_K_M")), "")
        choice = usual or short_label(fitting[0].name, builds)
        raise UsageError(
            f"{what} {len(fitting)} builds: {_listed(fitting, builds)}.", f"Name one, e.g. {listing.repo}:{choice}"
        )
    raise NotFoundError(
        f"'{listing.repo}' has no build labelled '{label}'; it has {_listed(builds, builds)}.",
        f"Name one of them: {listing.repo}:LABEL",
    )


def _listed(some: Sequence[Build], builds: Sequence[Build]) -> str:
    shown = [f"{short_label(b.name, builds)} ({b.size / 1e9:.2f} GB)" for b in some[:40]]
    return ", ".join(shown) + (f" and {len(some) - 40} more" if len(some) > 40 else "")


def short_label(name: str, builds: Sequence[Build]) -> str:
    """What tells a build from the others of its repository: its name less the beginning all have in common."""
    base = name.rpartition("/")[2]
    names = [b.name.rpartition("/")[2] for b in builds]
    if len(set(names)) < 2:
        return base
    common = 0
    while all(len(n) > common and n[common].lower() == base[common].lower() for n in names):
        common += 1
    cut = max(base.rfind(mark, 0, common) for mark in "-.") + 1
    return base[cut:] or base


def has_label(name: str, label: str) -> bool:
    """Whether a build's name carries the whole label: Q4_K_M is not found in UD-Q4_K_M nor Q4_K in Q4_K_M."""
    pattern = rf"(?<![a-z0-9_]){re.escape(label.lower())}(?![a-z0-9_])"
    if not label.lower().startswith("ud-"):
        pattern = rf"(?<!ud-){pattern}"
    return not label or re.search(pattern, name.lower()) is not None


def _whole(build: Build, repo: str) -> Build:
    first = SHARD.search(build.files[0].path[: -len(".gguf")])
    if first is None:
        return build
    wanted = {f"{build.name}-{n:05d}-of-{first[2]}.gguf".lower() for n in range(1, int(first[2]) + 1)}
    missing = sorted(wanted - {f.path.lower() for f in build.files})
    if missing:
        raise CheckpointError(f"'{repo}' lacks {len(missing)} of {first[2]} shards of {build.name}: {missing[0]}.")
    return build


def _no_gguf(listing: Listing, label: str) -> NotFoundError | UnsupportedError:
    paths = [f.path.lower() for f in listing.files]
    if _root_safetensors(listing):
        return NotFoundError(
            f"'{listing.repo}' holds one build as safetensors and no GGUF, so there is no '{label}' in it.",
            f"Leave the label out: localq pull {listing.repo}",
        )
    if any(p.endswith(_PICKLES) for p in paths):
        return UnsupportedError(
            f"'{listing.repo}' has its weights only as pickles, which can run code; localq reads safetensors and GGUF.",
            "Look for a safetensors or GGUF build of this model.",
        )
    return UnsupportedError(f"'{listing.repo}' holds no GGUF and no safetensors weights.", _sample(listing))


def _projector(listing: Listing) -> list[RemoteFile]:
    """The vision half of a GGUF model: the F16 one where several precisions are offered."""
    found = [f for f in listing.files if f.path.endswith(".gguf") and "mmproj" in f.path.rpartition("/")[2].lower()]
    if not found:
        raise NotFoundError(f"'{listing.repo}' has no mmproj file.", "Leave --mmproj out.")
    by_choice = [f for mark in ("-f16", "bf16", "") for f in found if mark in f.path.lower()]
    return by_choice[:1]


def _root_safetensors(listing: Listing) -> list[RemoteFile]:
    return [
        f
        for f in listing.files
        if "/" not in f.path and f.path.endswith(".safetensors") and not f.path.startswith("adapter_")
    ]


def _safetensors(listing: Listing, read_index: Callable[[RemoteFile], dict[str, str]]) -> list[RemoteFile]:
    files = _root_safetensors(listing)
    groups: dict[str, list[RemoteFile]] = {}
    for file in files:
        groups.setdefault(SHARD.sub("", file.path[: -len(".safetensors")]), []).append(file)
    name = _main_group(sorted(groups), listing)
    index = listing.file(name + INDEX)
    chosen = sorted(groups[name])
    if index is not None:
        names = set(read_index(index).values())
        missing = sorted(n for n in names if listing.file(n) is None)
        if missing:
            raise CheckpointError(f"'{listing.repo}' lacks {len(missing)} files that its index names: {missing[0]}.")
        chosen = [f for f in listing.files if f.path in names]
    else:
        _check_shards(chosen, listing.repo)
    return [*(f for f in listing.files if _is_beside(f, name, index)), *chosen]


def _main_group(names: list[str], listing: Listing) -> str:
    """Of several sets of weights, the one a runtime loads: `model`, else the only one not consolidated."""
    if len(names) == 1 or "model" in names:
        return "model" if "model" in names else names[0]
    rest = [n for n in names if not n.startswith("consolidated") and n not in ("mtp", "draft")]
    if len(rest) == 1:
        return rest[0]
    indexed = [n for n in rest if listing.file(n + INDEX) is not None]
    if len(indexed) == 1:
        return indexed[0]
    raise UsageError(
        f"'{listing.repo}' has {len(names)} sets of weights: {', '.join(names[:12])}.",
        "Choose with --include, e.g. --include '*.json' --include 'model*.safetensors'.",
    )


def _check_shards(files: Sequence[RemoteFile], repo: str) -> None:
    shard = SHARD.search(files[0].path[: -len(".safetensors")])
    if shard and len(files) != int(shard[2]):
        raise CheckpointError(f"'{repo}' has {len(files)} of {shard[2]} shards of {files[0].path}.")


def _is_beside(file: RemoteFile, name: str, index: RemoteFile | None) -> bool:
    """Config, tokenizer and templates of the folder; of indices only the one of the chosen weights."""
    if "/" in file.path or file.size > _MAX_BESIDE:
        return False
    if ".index" in file.path:
        return file == index
    return file.path.endswith(_BESIDE) or file.path in _BESIDE_NAMES
