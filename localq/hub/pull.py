"""Pulling a model: plan what is needed, check the disk, fetch in parallel, and make it visible when all is right."""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from localq.errors import CheckpointError, LocalqError, NotFoundError
from localq.hub import client, failures
from localq.hub.failures import Subject
from localq.hub.listing import Listing, RemoteFile, read_listing
from localq.hub.refs import HubRef
from localq.hub.selection import Wish, gguf_builds, select
from localq.hub.store import Store
from localq.hub.transfer import Job, Stopped, fetch, new_hash

ROOM = 64 << 20  # bytes of disk to leave free
MAX_INDEX = 1 << 25


class Plan(NamedTuple):
    """What a pull will do."""

    listing: Listing
    files: tuple[RemoteFile, ...]
    store: Store

    @property
    def size(self) -> int:
        return sum(f.size for f in self.files)

    @property
    def missing(self) -> int:
        """Bytes still to come, by what lies here under its final or unfinished name."""
        total = 0
        for file in unique(self.files):
            place = self.store.place(file)
            if _size(place.final) != file.size:
                total += max(file.size - max(_size(place.part), 0), 0)
        return total

    def is_here(self, file: RemoteFile) -> bool:
        return _size(self.store.place(file).final) == file.size

    @property
    def target(self) -> str:
        """What to open afterwards: the folder, or the (first) GGUF file."""
        ggufs = sorted(f.path for f in self.files if f.path.endswith(".gguf") and "mmproj" not in f.path)
        folder = self.store.snapshot
        whole = any(f.path == "config.json" for f in self.files) or len(gguf_builds(self.files)) != 1
        return folder if whole else os.path.join(folder, *ggufs[0].split("/"))


class Events(NamedTuple):
    """Who hears of a pull's progress."""

    moved: Callable[[int], None] = lambda count: None
    said: Callable[[str], None] = lambda text: None


def plan_pull(ref: HubRef, wish: Wish, folder: str = "") -> Plan:
    """Ask the hub what `ref` needs; nothing is fetched but listings.

    Raises:
        NotFoundError, UsageError, UnsupportedError, CheckpointError: as `selection.select`.
        LocalqError: the hub refuses or cannot be reached.
    """
    wish = wish._replace(label=ref.label, file=ref.file)
    listing = read_listing(ref.repo, ref.revision)
    if wish.label and not wish.include and not ref.revision and not gguf_builds(listing.files):
        listing, wish = _label_as_branch(listing, wish)
    files = select(listing, wish, lambda index: _read_index(listing, index))
    return Plan(listing, files, Store(listing, os.path.abspath(os.path.expanduser(folder)) if folder else ""))


def _label_as_branch(listing: Listing, wish: Wish) -> tuple[Listing, Wish]:
    """Repositories without GGUF keep their builds in branches (exl2, GPTQ): the label may name one."""
    try:
        return read_listing(listing.repo, wish.label), wish._replace(label="")
    except NotFoundError:
        return listing, wish


def _read_index(listing: Listing, index: RemoteFile) -> dict[str, str]:
    """The weight map of an index, from a checked copy in memory."""
    import json

    if index.size > MAX_INDEX:
        raise CheckpointError(f"{index.path} of '{listing.repo}' has {index.size} bytes; that is no index.")
    body, hasher = bytearray(), new_hash(index)
    url = client.file_url(listing.repo, listing.commit, index.path)
    with client.stream(url, Subject(listing.repo, listing.commit, index.path)) as response:
        try:
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > index.size:
                    break
        except client.broken() as error:
            raise failures.unreachable(error, client.endpoint()) from error
    hasher.update(bytes(body))
    if hasher.hexdigest() != index.etag:
        raise CheckpointError(f"{index.path} of '{listing.repo}' came with another hash than listed.", "Try again.")
    try:
        weights = json.loads(body)["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError):
        weights = None
    if not isinstance(weights, dict) or not weights or not all(isinstance(f, str) for f in weights.values()):
        raise CheckpointError(f"{index.path} of '{listing.repo}' has no weight_map.")
    return weights


def unique(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Files by their place: equal content under two names is fetched once into the cache."""
    return list({f.etag: f for f in files}.values())


def check_disk(plan: Plan) -> None:
    """Refuse before fetching what the disk cannot hold.

    Raises:
        DoesNotFitError: with both numbers.
    """
    where = plan.store.root
    while not os.path.isdir(where) and os.path.dirname(where) != where:
        where = os.path.dirname(where)
    free = shutil.disk_usage(where).free
    if plan.missing and plan.missing + ROOM > free:
        raise failures.disk_full(plan.store.root, plan.missing, free)


def pull(plan: Plan, *, workers: int = 8, events: Events | None = None, stop: threading.Event | None = None) -> str:
    """Fetch everything a plan names and return what to open.

    Threads are daemons: an interrupted process ends at once, and what was fetched stays for the next pull.

    Raises:
        LocalqError: the first failure; the other downloads are stopped.
        Stopped: `stop` was set.
    """
    events, stop = events or Events(), stop or threading.Event()
    check_disk(plan)
    files = plan.files if plan.store.folder else unique(plan.files)
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for file in sorted(files, key=lambda f: (f.size, f.path)):
        place = plan.store.place(file)
        jobs.put(Job(file, plan.listing.repo, plan.listing.commit, place, events.moved, events.said, stop))
    errors: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    threads = [
        threading.Thread(target=_work, args=(jobs, errors, stop), daemon=True)
        for _ in range(min(max(workers, 1), len(files)))
    ]
    for thread in threads:
        thread.start()
    try:
        while any(t.is_alive() for t in threads) and errors.empty():
            threads[0].join(0.05)
            threads.append(threads.pop(0))
    finally:
        if any(t.is_alive() for t in threads):
            stop.set()
    if not errors.empty():
        raise errors.get()
    if stop.is_set():
        raise Stopped
    _publish(plan)
    return plan.target


def _work(jobs: queue.SimpleQueue[Job], errors: queue.SimpleQueue[BaseException], stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            job = jobs.get_nowait()
        except queue.Empty:
            return
        try:
            fetch(job)
        except Stopped:
            return
        except BaseException as error:
            errors.put(error)
            return


def _publish(plan: Plan) -> None:
    try:
        plan.store.publish(plan.files)
    except OSError as error:
        raise LocalqError(
            f"{error.strerror}: '{error.filename}'.", "The files are here; run the command again."
        ) from error


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return -1
