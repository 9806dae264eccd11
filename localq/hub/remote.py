"""A repository's files as empty shells of their full size, into which only the asked-for bytes are fetched.

A reader of headers opens such a shell like the real file: sizes are right, the fetched ranges hold the file's bytes,
the rest reads as zeros and takes no room on disk (a sparse file). Who reads decides what must be fetched first.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Sequence
from typing import Any

from localq.errors import CheckpointError
from localq.hub import client, failures
from localq.hub.failures import Subject
from localq.hub.listing import Listing, RemoteFile
from localq.hub.transfer import TRIES, new_hash

MAX_SKIP = 1 << 26  # bytes read and thrown away where a server knows no ranges
MAX_WHOLE = 1 << 25


class Shells:
    """The files of one listing under `folder`; safe to use from several threads, one per file."""

    def __init__(self, listing: Listing, files: Sequence[RemoteFile], folder: str) -> None:
        self.listing, self.folder = listing, folder
        self.files = {f.path: f for f in files}
        self.fetched = 0  # bytes that came over the network
        self._until: dict[str, int] = {}
        self._lock = threading.Lock()
        for file in files:
            os.makedirs(os.path.dirname(self.path(file.path)), exist_ok=True)
            with open(self.path(file.path), "wb") as shell:
                shell.truncate(file.size)

    def path(self, name: str) -> str:
        """Where the shell of a file is."""
        return os.path.join(self.folder, *name.split("/"))

    def begin(self, name: str, count: int) -> int:
        """Have the first `count` bytes (or the whole file); returns how many are there."""
        have, size = self._until.get(name, 0), self.files[name].size
        if count > have:
            self.span(name, have, min(count, size))
        return self._until.get(name, 0)

    def span(self, name: str, start: int, end: int) -> None:
        """Fetch bytes `[start, end)` of a file.

        Raises:
            CheckpointError: the server's file is not the listed one.
            LocalqError: the hub refuses or cannot be reached.
        """
        file, at, failed = self.files[name], start, 0
        with open(self.path(name), "r+b") as shell:
            while at < end:
                before = at
                try:
                    for chunk in self._chunks(file, at, end):
                        shell.seek(at)
                        shell.write(chunk)
                        at += len(chunk)
                except client.broken() as error:
                    if failed >= TRIES:
                        raise failures.unreachable(error, client.endpoint()) from error
                failed = 0 if at > before else failed + 1
                if failed > TRIES:
                    raise failures.unreachable(OSError("no more bytes came"), client.endpoint())
                if at < end:
                    time.sleep(client.PAUSES[min(failed, len(client.PAUSES) - 1)] if failed else 0.0)
        if start <= self._until.get(name, 0) < end:
            self._until[name] = end

    def _chunks(self, file: RemoteFile, start: int, end: int) -> Any:
        """The bytes `[start, end)` as one answer gives them, perhaps fewer."""
        subject = Subject(self.listing.repo, self.listing.commit, file.path)
        url = client.file_url(self.listing.repo, self.listing.commit, file.path)
        with client.stream(url, subject, span=(start, end)) as response:
            skip, left = self._place(response, file, start), end - start
            for chunk in response.iter_bytes():
                with self._lock:
                    self.fetched += len(chunk)
                if skip:
                    skipped = min(skip, len(chunk))
                    skip, chunk = skip - skipped, chunk[skipped:]
                chunk = chunk[:left]
                left -= len(chunk)
                yield chunk
                if not left:
                    return

    def _place(self, response: Any, file: RemoteFile, start: int) -> int:
        """How many bytes of an answer come before `start`."""
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", "").strip())
        if response.status_code == 206 and said:
            if said[2] not in ("*", str(file.size)):
                raise self._another(file, said[2])
            before = start - int(said[1])
        else:  # the server sends the whole file
            length = response.headers.get("content-length", "")
            if length.isdigit() and not response.headers.get("content-encoding") and int(length) != file.size:
                raise self._another(file, length)
            before = start
        if not 0 <= before <= MAX_SKIP:
            raise CheckpointError(
                f"The server of '{self.listing.repo}' cannot send a part of {file.path}.", "Fetch it: localq pull"
            )
        return before

    def _another(self, file: RemoteFile, size: str) -> CheckpointError:
        return CheckpointError(
            f"'{file.path}' of {self.listing.repo} has {size} bytes at the server and {file.size} in the listing.",
            "A mirror or proxy on the way serves something else: unset HF_ENDPOINT, or try again later.",
        )

    def whole(self, name: str) -> None:
        """Fetch a small file and check its hash.

        Raises:
            CheckpointError: it is large, or its bytes are not the listed ones.
        """
        file = self.files[name]
        if file.size > MAX_WHOLE:
            raise CheckpointError(f"'{name}' of {self.listing.repo} has {file.size} bytes; a small file is expected.")
        self.begin(name, file.size)
        hasher = new_hash(file)
        with open(self.path(name), "rb") as shell:
            hasher.update(shell.read())
        if hasher.hexdigest() != file.etag:
            raise CheckpointError(f"'{name}' of {self.listing.repo} came with another hash than listed.", "Try again.")
