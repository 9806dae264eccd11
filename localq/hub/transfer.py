"""Fetching one file: continued where it stopped, checked against its hash, and only then given its name.

huggingface_hub writes every attempt to a file of its own and compares sizes only; here the part that is there is read
and hashed, the rest is asked for by range, and a wrong hash starts the file afresh.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from localq.errors import CheckpointError, LocalqError
from localq.hub import client, failures, store
from localq.hub.failures import Subject
from localq.hub.listing import RemoteFile
from localq.hub.store import Place

CHUNK = 1 << 20
SPAN = 1 << 33  # bytes asked for at once: servers refuse very long answers, not very long files
TRIES = 5  # failures in a row without a new byte before giving up
ROUNDS = 3  # times a file is fetched afresh because its hash was wrong
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Stopped(Exception):
    """The pull was told to stop; what was fetched stays for the next one."""


class Job(NamedTuple):
    """One file to fetch. `moved(n)` hears of every n bytes done (negative: undone), `said(text)` of what goes wrong."""

    file: RemoteFile
    repo: str
    commit: str
    place: Place
    moved: Callable[[int], None]
    said: Callable[[str], None]
    stop: threading.Event


def fetch(job: Job) -> None:
    """See to it that the file is there and right.

    Raises:
        CheckpointError: the bytes that come do not have the listed hash.
        DoesNotFitError: the disk became full.
        LocalqError: the hub refuses or cannot be reached.
        Stopped: `job.stop` was set.
    """
    try:
        os.makedirs(os.path.dirname(job.place.part), exist_ok=True)
        os.makedirs(os.path.dirname(job.place.final), exist_ok=True)
        os.makedirs(os.path.dirname(job.place.lock), exist_ok=True)
        with _alone(job):
            if not _is_there(job):
                _fetch_alone(job)
    except OSError as error:
        if error.errno in _FULL:
            raise failures.disk_filled(os.path.dirname(job.place.final)) from error
        raise LocalqError(f"{error.strerror}: '{error.filename or job.place.part}'.") from error


def _alone(job: Job) -> Any:
    """The lock that huggingface_hub's own downloads take too; another pull of the same file is waited for."""
    from contextlib import ExitStack

    from filelock import Timeout

    stack = ExitStack()
    waited = False
    while True:
        if job.stop.is_set():
            raise Stopped
        try:
            stack.enter_context(client.file_lock(job.place.lock, timeout=0.5))
            return stack
        except Timeout:
            if not waited:
                job.said(f"{job.file.path}: waiting for another download of it")
            waited = True


def _is_there(job: Job) -> bool:
    """Whether the finished file is here with the right hash (read once, then remembered)."""
    final, file = job.place.final, job.file
    if not os.path.isfile(final) or os.path.getsize(final) != file.size:
        return False
    if not store.is_proven(final, file.etag):
        if not _hash_of(final, job, 0)[0] == file.etag:
            job.said(f"{file.path}: the copy here is damaged and is fetched again")
            return False
        store.prove(final, file.etag)
    job.moved(file.size)
    return True


def _hash_of(path: str, job: Job, count: int) -> tuple[str, Any]:
    hasher = new_hash(job.file)
    with open(path, "rb", buffering=0) as source:
        while chunk := source.read(CHUNK):
            if job.stop.is_set():
                raise Stopped
            hasher.update(chunk)
            job.moved(len(chunk) * count)
    return hasher.hexdigest(), hasher


def new_hash(file: RemoteFile) -> Any:
    """sha256 of the bytes; for small files git's: sha1 of "blob SIZE", a zero byte, and the bytes."""
    import hashlib

    if file.sha256:
        return hashlib.sha256()
    return hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)


def _fetch_alone(job: Job) -> None:
    part, file = job.place.part, job.file
    for _ in range(ROUNDS):
        if os.path.exists(part) and os.path.getsize(part) > file.size:
            os.unlink(part)
        resumed = os.path.exists(part) and os.path.getsize(part) > 0
        if _fetch_rest(job) == file.etag:
            os.replace(part, job.place.final)
            store.prove(job.place.final, file.etag)
            return
        job.moved(-file.size)
        os.unlink(part)
        job.said(f"{file.path}: wrong bytes{' in what was resumed' if resumed else ''}, fetched again from its start")
    raise CheckpointError(
        f"'{file.path}' of {job.repo} came {ROUNDS} times with another hash than the hub lists ({file.etag[:12]}...).",
        "A proxy or mirror on the way changes it: use another network, or unset HF_ENDPOINT.",
    )


class _Part:
    """The unfinished file: how much of it is there, and the hash of that much."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.out = open(job.place.part, "ab")
        self.have = self.out.tell()
        self.hasher = _hash_of(job.place.part, job, 1)[1] if self.have else new_hash(job.file)

    def add(self, chunk: bytes) -> None:
        chunk = chunk[: self.job.file.size - self.have]  # a server may send more than it said
        self.out.write(chunk)
        self.hasher.update(chunk)
        self.have += len(chunk)
        self.job.moved(len(chunk))

    def restart(self) -> None:
        self.out.seek(0)
        self.out.truncate()
        self.job.moved(-self.have)
        self.have, self.hasher = 0, new_hash(self.job.file)


def _fetch_rest(job: Job) -> str:
    """Append what is missing, and return the hash of the whole."""
    part, failed, broken = _Part(job), 0, client.broken()
    with part.out:
        while part.have < job.file.size:
            before, problem = part.have, None
            try:
                _append(part)
            except broken as error:
                problem = error
            failed = 0 if part.have > before else failed + 1
            if failed >= TRIES:
                raise failures.unreachable(problem or OSError("no more bytes came"), client.endpoint())
            if problem is not None or failed:
                _pause(job, failed)
        part.out.flush()
        os.fsync(part.out.fileno())
    return str(part.hasher.hexdigest())


def _append(part: _Part) -> None:
    """Add the answer of one request."""
    job = part.job
    end = min(part.have + SPAN, job.file.size)
    span = (part.have, end) if part.have or end < job.file.size else None
    url = client.file_url(job.repo, job.commit, job.file.path)
    with client.stream(url, Subject(job.repo, job.commit, job.file.path), span=span) as response:
        if span is not None and not _continues(response, part.have):
            part.restart()
        for chunk in response.iter_bytes():
            if job.stop.is_set():
                raise Stopped
            part.add(chunk)
            if part.have >= job.file.size:
                break


def _continues(response: Any, have: int) -> bool:
    """Whether the server honours the range; 200 means the whole file from its start."""
    said = response.headers.get("content-range", "")
    return response.status_code == 206 and (not said or said.replace("bytes ", "").startswith(f"{have}-"))


def _pause(job: Job, failed: int) -> None:
    wait = client.PAUSES[min(failed, len(client.PAUSES)) - 1] if failed else 0.1
    until = time.monotonic() + wait
    while time.monotonic() < until:
        if job.stop.wait(min(wait, 0.2)):
            raise Stopped
