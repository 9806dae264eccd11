"""Opening a file for reading as mapped memory, and one way to show foreign names in messages."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterable

from localq.errors import CheckpointError, LocalqError, NotFoundError

DAMAGED = "The file is incomplete or damaged: download it again."


def map_file(path: str) -> memoryview:
    """The bytes of a regular file, mapped read-only; slices of the view keep the mapping alive.

    Raises:
        NotFoundError: no such file.
        CheckpointError: an empty file, or something that is not a regular file.
        LocalqError: the operating system refuses to open it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {path}.") from None
    except (OSError, ValueError) as error:
        raise LocalqError(f"{path!r} cannot be opened: {reason(error)}.") from None
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise CheckpointError(f"{path} is not a regular file.")
        if facts.st_size == 0:
            raise CheckpointError(f"{path} is empty.", DAMAGED)
        return memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise LocalqError(f"{path} cannot be mapped: {reason(error)}.") from None
    finally:
        os.close(handle)


def reason(error: Exception) -> str:
    """What the operating system said, without the path that every message already has."""
    return getattr(error, "strerror", None) or str(error)


def shown(name: str) -> str:
    """A name from a file, quoted, escaped and cut so that a hostile one cannot flood or fool a terminal."""
    return ascii(name if len(name) <= 100 else name[:97] + "...")


def read_file(path: str, limit: int) -> bytes:
    """The whole content of a file of at most `limit` bytes; an empty file gives no bytes.

    Raises:
        CheckpointError: the file is larger.
    """
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {reason(error)}.") from None
    if size > limit:
        raise CheckpointError(f"{path} has {size} bytes; at most {limit} are expected of such a file.")
    return bytes(map_file(path)) if size else b""


def near(name: str, known: Iterable[str]) -> str:
    """A hint naming the most similar known names."""
    import difflib

    close = difflib.get_close_matches(name, known, 3, 0.7)
    return f"Did you mean {' or '.join(close)}?" if close else ""
