"""Where fetched files live: the Hugging Face cache, or a plain folder. Names only become visible when all is right.

Layout of the cache (huggingface_hub, "Understand caching"): `models--ORG--NAME/blobs/HASH` holds the bytes,
`snapshots/COMMIT/PATH` are links to them, `refs/BRANCH` holds a commit, `.locks/models--ORG--NAME/HASH.lock` guards a
blob. `HASH` is the sha256 of a large file and the git hash of a small one. What is not complete yet is called
`HASH.incomplete`.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from localq.hub import client
from localq.hub.listing import Listing, RemoteFile
from localq.paths import cache_dir, data_dir, hf_cache_dir

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


class Place(NamedTuple):
    """Where one file of a pull goes: while it is fetched, when it is right, and what guards it."""

    part: str
    final: str
    lock: str


class Store(NamedTuple):
    """The target of one pull: the cache, or `folder` if that is set."""

    listing: Listing
    folder: str = ""

    @property
    def root(self) -> str:
        """The folder whose disk must have room."""
        return self.folder or hf_cache_dir()

    @property
    def repo_folder(self) -> str:
        return os.path.join(hf_cache_dir(), folder_name(self.listing.repo))

    @property
    def snapshot(self) -> str:
        """The folder a runtime opens afterwards."""
        return self.folder or os.path.join(self.repo_folder, "snapshots", self.listing.commit)

    def place(self, file: RemoteFile) -> Place:
        if self.folder:
            hidden = os.path.join(self.folder, ".cache", "huggingface", "download", file.etag)
            return Place(hidden + ".incomplete", os.path.join(self.folder, *file.path.split("/")), hidden + ".lock")
        blob = os.path.join(self.repo_folder, "blobs", file.etag)
        lock = os.path.join(hf_cache_dir(), ".locks", folder_name(self.listing.repo), file.etag + ".lock")
        name = os.path.join(self.snapshot, *file.path.split("/"))
        unlinked = os.path.isfile(name) and not os.path.islink(name) and not os.path.lexists(blob)
        return Place(blob + ".incomplete", name if unlinked else blob, lock)

    def publish(self, files: Sequence[RemoteFile]) -> None:
        """Make a finished pull visible: links first, the branch last."""
        if self.folder:
            remember_folder(self.folder, self.listing, files)
            return
        for number, file in enumerate(files):
            again = any(f.etag == file.etag for f in files[number + 1 :])
            _link(self.place(file).final, os.path.join(self.snapshot, *file.path.split("/")), again)
        if self.listing.revision != self.listing.commit:
            replace_text(os.path.join(self.repo_folder, "refs", *self.listing.revision.split("/")), self.listing.commit)


def folder_name(repo: str) -> str:
    """The cache's folder of a repository."""
    return "models--" + repo.replace("/", "--")


def _link(blob: str, pointer: str, again: bool) -> None:
    """Let `pointer` mean `blob`: a relative link, or, on a disk without links (exFAT), the file itself.

    `again`: another name will need the blob too.
    """
    if blob == pointer:
        return
    os.makedirs(os.path.dirname(pointer), exist_ok=True)
    folder, name = os.path.split(blob)  # the blob may itself be a link, into huggingface_hub's store of shared blobs
    target = os.path.relpath(os.path.join(os.path.realpath(folder), name), os.path.realpath(os.path.dirname(pointer)))
    if os.path.islink(pointer) and os.readlink(pointer) == target:
        return
    fresh = _fresh(pointer)
    try:
        os.symlink(target, fresh)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if again:
            import shutil

            shutil.copyfile(blob, fresh)
            os.replace(fresh, pointer)
        else:
            os.replace(blob, pointer)
        return
    os.replace(fresh, pointer)


def _fresh(path: str) -> str:
    """A name beside `path` that no other process or thread uses."""
    return f"{path}.{os.getpid()}-{threading.get_ident()}.new"


def replace_text(path: str, text: str) -> None:
    """Write a small file in one step: readers see the old or the new content, never half."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    fresh = _fresh(path)
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(fresh, path)


# A file whose hash was right is not read again as long as its size and time stay: one empty file per proof.


def is_proven(path: str, etag: str) -> bool:
    """Whether this very file was already found to have the hash `etag`."""
    return os.path.exists(_proof(path, etag))


def prove(path: str, etag: str) -> None:
    """Remember that this very file has the hash `etag`."""
    proof = _proof(path, etag)
    os.makedirs(os.path.dirname(proof), exist_ok=True)
    with open(proof, "w", encoding="utf-8"):
        pass


def _proof(path: str, etag: str) -> str:
    facts = os.stat(path)
    return os.path.join(cache_dir(), "verified", f"{etag}-{facts.st_size}-{facts.st_ino}-{facts.st_mtime_ns}")


# Folders given as --local-dir, so that `list` and `rm` find them again.


def folders_file() -> str:
    return os.path.join(data_dir(), "local_dirs.json")


def read_folders() -> dict[str, dict[str, Any]]:
    """Folder -> {"repo", "commit", "files"} of every --local-dir used; damage means nothing is remembered."""
    try:
        with open(folders_file(), encoding="utf-8") as file:
            known = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {k: v for k, v in known.items() if isinstance(v, dict) and isinstance(v.get("repo"), str)}


def remember_folder(folder: str, listing: Listing, files: Sequence[RemoteFile]) -> None:
    """Note what a pull has put into a folder, beside what earlier ones have."""
    folder = os.path.abspath(folder)
    before = read_folders().get(folder, {}).get("files")
    names = {*(before if isinstance(before, list) else ()), *(f.path for f in files)}
    change_folders({folder: {"repo": listing.repo, "commit": listing.commit, "files": sorted(names)}})


def change_folders(changes: dict[str, dict[str, Any] | None]) -> None:
    """Add entries; None takes one out."""
    os.makedirs(data_dir(), exist_ok=True)
    with client.file_lock(folders_file() + ".lock"):
        known: dict[str, dict[str, Any] | None] = {**read_folders(), **changes}
        replace_text(folders_file(), json.dumps({k: v for k, v in known.items() if v is not None}, indent=1))
