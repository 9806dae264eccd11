"""What a repository holds at one commit: paths, sizes and hashes, as the hub lists them; and the search.

API: `/api/models/ID/revision/REV` gives the present id (a renamed repository redirects) and the commit,
`/api/models/ID/tree/COMMIT?recursive=true` the files, in pages; large files carry `lfs.oid` (sha256), small ones the
hash git gives their content (sha1 over "blob SIZE\\0" and the bytes).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from localq.errors import CheckpointError, LocalqError, UsageError
from localq.hub import client
from localq.hub.failures import Subject

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9_][\w.-]{0,95})?", re.A)
_COMMIT = re.compile(r"[0-9a-f]{40}")
MAX_FILES = 100_000


class RemoteFile(NamedTuple):
    """One file of a repository; `sha256` for large files, else the git hash `sha1`."""

    path: str
    size: int
    sha1: str
    sha256: str = ""

    @property
    def etag(self) -> str:
        """The name of its blob in the Hugging Face cache."""
        return self.sha256 or self.sha1


class Listing(NamedTuple):
    """A repository at one commit; `repo` is its present name, `asked` the one it was asked by."""

    repo: str
    asked: str
    revision: str
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def moved(self) -> bool:
        return self.repo.lower() != self.asked.lower()

    def file(self, path: str) -> RemoteFile | None:
        return next((f for f in self.files if f.path == path), None)


class Found(NamedTuple):
    """A search result."""

    repo: str
    downloads: int
    likes: int


def read_listing(repo: str, revision: str = "") -> Listing:
    """Ask the hub what `repo` holds.

    Raises:
        NotFoundError: no such repository or revision.
        LocalqError: the hub refuses or cannot be reached.
    """
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo:
        raise UsageError(f"'{repo}' cannot be the name of a repository.", "It looks like org/name.")
    wanted = revision or "main"
    subject = Subject(repo, wanted)
    facts, _ = client.get_json(f"/api/models/{repo}/revision/{quote(wanted, safe='')}", None, subject)
    name, commit = _fact(facts, "id", _REPO, subject), _fact(facts, "sha", _COMMIT, subject)
    params = {"recursive": "true", "expand": "false"}
    files = []
    for item in client.pages(f"/api/models/{name}/tree/{commit}", params, subject._replace(repo=name)):
        if isinstance(item, dict) and item.get("type") == "file":
            files.append(_file(item, name))
        if len(files) > MAX_FILES:
            raise LocalqError(f"'{name}' lists more than {MAX_FILES} files; that is no model.")
    return Listing(name, repo, wanted, commit, tuple(files))


def _fact(facts: Any, key: str, pattern: re.Pattern[str], subject: Subject) -> str:
    value = facts.get(key) if isinstance(facts, dict) else None
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise LocalqError(f"The hub's answer about '{subject.repo}' has no {key}.", "Check HF_ENDPOINT.")
    return value


def _file(item: dict[str, Any], repo: str) -> RemoteFile:
    path, size, sha1 = item.get("path"), item.get("size"), item.get("oid")
    lfs = item.get("lfs")
    sha256: Any = ""
    if isinstance(lfs, dict):
        size, sha256 = lfs.get("size", size), lfs.get("oid", lfs.get("sha256"))
    if not isinstance(path, str) or not is_inside(path):
        raise CheckpointError(f"'{repo}' lists a file {ascii(path)[:100]} that would land outside its folder.")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 50:
        raise CheckpointError(f"'{repo}' lists '{path}' with size {ascii(size)[:40]}.")
    if not isinstance(sha1, str) or not _COMMIT.fullmatch(sha1):
        raise CheckpointError(f"'{repo}' lists '{path}' without a git hash, so it could not be checked.")
    if not isinstance(sha256, str) or (lfs and not re.fullmatch(r"[0-9a-f]{64}", sha256)):
        raise CheckpointError(f"'{repo}' lists '{path}' as a large file without its sha256.")
    return RemoteFile(path, size, sha1, sha256)


def is_inside(path: str) -> bool:
    """Whether a listed path can only mean a file below the folder it is put into."""
    parts = path.split("/")
    plain = path.isprintable() and not any(c in path for c in '\\:*?"<>|')
    return plain and all(p not in ("", ".", "..") for p in parts)


def search(words: str, author: str = "", limit: int = 50) -> list[Found]:
    """Repositories of models whose name has `words` (of one organisation, if given), most downloaded first.

    Raises:
        LocalqError: the hub refuses or cannot be reached.
    """
    params = {"search": words, "sort": "downloads", "limit": str(limit)}
    if author:
        params = {key: value for key, value in {**params, "author": author}.items() if value}
    items, _ = client.get_json("/api/models", params, Subject(words))
    return [f for f in map(_found, items if isinstance(items, Sequence) else ()) if f is not None][:limit]


def _found(item: Any) -> Found | None:
    if not isinstance(item, dict):
        return None
    name = item.get("id") or item.get("modelId")
    if not isinstance(name, str) or not _REPO.fullmatch(name):
        return None
    counts = [item.get(key) for key in ("downloads", "likes")]
    downloads, likes = (c if isinstance(c, int) and not isinstance(c, bool) else 0 for c in counts)
    return Found(name, downloads, likes)
