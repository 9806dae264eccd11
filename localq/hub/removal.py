"""Removing a model: its names first, then the bytes nothing else names. Other programs' stores are not touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import NamedTuple

from localq.errors import LocalqError, NotFoundError, UsageError
from localq.hub import ollama, store
from localq.hub.catalog import lm_studio_folders
from localq.hub.refs import HubRef, cached_repos, is_local, parse
from localq.hub.selection import SHARD, has_label
from localq.paths import hf_cache_dir


class Removal(NamedTuple):
    """What would go: `names` (links and files), then `blobs`, then `whole` (a folder left with nothing of use)."""

    what: str
    names: tuple[str, ...]
    blobs: tuple[str, ...]
    freed: int
    kept: int  # bytes that stay because something else names them
    whole: str = ""
    folder: str = ""  # a remembered --local-dir to forget


def plan_removal(ref: str, revision: str | None = None) -> Removal:
    """What removing `ref` takes away.

    Raises:
        NotFoundError: it is not here.
        UsageError: several repositories fit, or it is not localq's to remove.
    """
    if ref == "demo":
        raise UsageError("The demo is part of localq and takes no room worth having.")
    if ref.lower().startswith(ollama.PREFIX):
        name = ref[len(ollama.PREFIX) :]
        raise UsageError(f"'{ref}' belongs to Ollama; localq only reads its store.", f"Use: ollama rm {name}")
    if is_local(ref):
        return _folder(ref)
    hub = parse(ref)
    found = [r for r in cached_repos() if r.lower() == hub.repo.lower()]
    found = found or [r for r in cached_repos() if not hub.org and r.rpartition("/")[2].lower() == hub.name.lower()]
    if len(found) > 1:
        raise UsageError(f"'{ref}' fits {len(found)} repositories: {', '.join(found)}.", "Write org/name.")
    if not found:
        raise NotFoundError(f"'{ref}' is not in the Hugging Face cache.", "See what is: localq list")
    return _cached(found[0], hub._replace(revision=revision or hub.revision), ref)


def _cached(repo: str, hub: HubRef, ref: str) -> Removal:
    where = os.path.join(hf_cache_dir(), store.folder_name(repo))
    pointers = _pointers(os.path.join(where, "snapshots"))
    commit = _commit(where, hub.revision)
    going = [p for p in pointers if _is_meant(os.path.relpath(p, os.path.join(where, "snapshots")), hub, commit)]
    if not going and (hub.label or hub.file or hub.revision):
        raise NotFoundError(f"Nothing cached of {repo} fits '{ref}'.", "See what is here: localq list")
    rest = {_blob(p) for p in pointers if p not in set(going)}
    targets = sorted({_blob(p) for p in going})
    blobs = tuple(b for b in targets if b not in rest)
    kept = sum(os.path.getsize(b) for b in targets if b in rest)
    freed = sum(os.path.getsize(b) for b in blobs if not os.path.islink(b))
    if not (hub.label or hub.file or hub.revision):
        return Removal(repo, tuple(going), blobs, _weight(where), 0, whole=where)
    return Removal(ref, tuple(going), blobs, freed, kept)


def _blob(pointer: str) -> str:
    """What a name of a snapshot leads to in `blobs`; one step, since a blob may be a link into the shared store."""
    if not os.path.islink(pointer):
        return pointer
    return os.path.normpath(os.path.join(os.path.dirname(pointer), os.readlink(pointer)))


def _pointers(snapshots: str) -> list[str]:
    found = []
    for where, _, names in os.walk(snapshots):
        found += [os.path.join(where, n) for n in names if os.path.exists(os.path.join(where, n))]
    return sorted(found)


def _commit(where: str, revision: str) -> str:
    if not revision:
        return ""
    pointer = os.path.join(where, "refs", *revision.split("/"))
    if ".." not in revision.split("/") and os.path.isfile(pointer):
        with open(pointer, encoding="utf-8") as file:
            return file.read().strip()
    return revision


def _is_meant(relative: str, hub: HubRef, commit: str) -> bool:
    snapshot, _, path = relative.replace(os.sep, "/").partition("/")
    if commit and not snapshot.startswith(commit):
        return False
    if hub.file:
        return path == hub.file or path.startswith(hub.file + "/")
    if hub.label:
        stem = SHARD.sub("", path.removesuffix(".gguf"))
        return path.endswith(".gguf") and "mmproj" not in path and has_label(stem, hub.label)
    return True


def _weight(folder: str) -> int:
    """Bytes of a folder's own files; links count nothing."""
    total = 0
    for where, _, names in os.walk(folder):
        paths = (os.path.join(where, n) for n in names)
        total += sum(os.path.getsize(p) for p in paths if not os.path.islink(p))
    return total


def _folder(ref: str) -> Removal:
    path = os.path.abspath(os.path.expanduser(ref))
    real = os.path.realpath(path)
    if any(real.startswith(os.path.join(home, "")) for home in lm_studio_folders()):
        raise UsageError(f"'{ref}' belongs to LM Studio; localq only reads its folders.", "Remove it in LM Studio.")
    known = store.read_folders().get(path)
    if known is None:
        if not os.path.exists(path):
            raise NotFoundError(f"There is no '{ref}'.", "See what is here: localq list")
        raise UsageError(f"localq did not put '{ref}' there, so it does not remove it.", "Use: rm")
    names = [n for n in known.get("files", []) if isinstance(n, str) and ".." not in n.split("/")]
    files = tuple(p for p in (os.path.join(path, *n.split("/")) for n in names) if os.path.isfile(p))
    return Removal(path, files, (), sum(os.path.getsize(f) for f in files), 0, folder=path)


def remove(removal: Removal) -> None:
    """Carry it out.

    Raises:
        LocalqError: a file could not be removed.
    """
    shared = [os.path.realpath(b) for b in removal.blobs if os.path.islink(b)]
    try:
        for path in removal.names:
            os.unlink(path)
        for path in removal.blobs:
            if os.path.lexists(path):
                os.unlink(path)
        _sweep(removal.names)
        if removal.whole:
            shutil.rmtree(removal.whole)
        _sweep_shared(shared)
        if removal.folder:
            shutil.rmtree(os.path.join(removal.folder, ".cache", "huggingface"), ignore_errors=True)
            _sweep([os.path.join(removal.folder, ".cache", "x"), os.path.join(removal.folder, "x")])
            store.change_folders({removal.folder: None})
    except OSError as error:
        raise LocalqError(f"{error.strerror}: '{error.filename}'.", "What was removed before stays removed.") from error


def _sweep_shared(paths: Sequence[str]) -> None:
    """Let huggingface_hub drop shared blobs that no repository of the cache uses any more."""
    if not paths:
        return
    from pathlib import Path

    try:
        from huggingface_hub.utils._shared_blobs import sweep_shared_blob
    except ImportError:
        return  # a version without such a store: nothing of ours is in it
    for path in paths:
        sweep_shared_blob(Path(path), cache_dir=hf_cache_dir())


def _sweep(paths: Sequence[str]) -> None:
    """Remove folders that have become empty, from the inside out."""
    for folder in sorted({os.path.dirname(p) for p in paths}, key=len, reverse=True):
        while os.path.isdir(folder) and not os.listdir(folder) and os.path.basename(folder) != "snapshots":
            os.rmdir(folder)
            folder = os.path.dirname(folder)
