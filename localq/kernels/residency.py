"""Giving file pages back after their bytes were copied into MLX memory.

A mapped file's pages count as resident until the system wants them; after a copy they are only in the way. Dropping
them is always safe for a file mapping: they are read again if anyone looks.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localq.formats.base import PackedTensor

# Linux maps what it has of 64 KB around a page that is asked for, or a huge page: an array of 8 KB leaves that much.
WINDOW = max(1 << 21, mmap.PAGESIZE)


def release(part: NDArray[Any]) -> bool:
    """Tell the system that the file pages from `part`'s first byte to its last are not needed; True if it maps a file.

    With them go the pages around that came along with them, and of every other row (gpt-oss's gates) what lies between.
    """
    owner, base = mapping(part)
    if owner is None or part.size == 0 or not hasattr(mmap, "MADV_DONTNEED"):
        return False
    start = end = part.__array_interface__["data"][0] - base
    for side, stride in zip(part.shape, part.strides, strict=True):
        start, end = start + min(0, (side - 1) * stride), end + max(0, (side - 1) * stride)
    first = start // WINDOW * WINDOW
    last = min(-(-(end + part.itemsize) // WINDOW) * WINDOW, len(owner))
    owner.madvise(mmap.MADV_DONTNEED, first, last - first)
    return True


def release_all(t: PackedTensor) -> None:
    """The same of all parts of a tensor."""
    for part in t.parts.values():
        release(part)


def mapping(part: NDArray[Any]) -> tuple[mmap.mmap | None, int]:
    """The mmap an array looks into and the address of its first byte, (None, 0) for memory of its own."""
    seen: Any = part
    while seen is not None and not isinstance(seen, mmap.mmap):
        seen = seen.obj if isinstance(seen, memoryview) else getattr(seen, "base", None)
    if seen is None or seen.closed:
        return None, 0
    if len(seen) == 0:
        return None, 0
    return seen, np.frombuffer(seen, np.uint8, 1).__array_interface__["data"][0]
