"""Giving file pages back after their bytes were copied into MLX memory.

A mapped file's pages count as resident until the system wants them; after a copy they are only in the way. Dropping
them is always safe for a file mapping: they are read again if anyone looks.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def release(part: NDArray[Any]) -> bool:
    """Tell the system that the file pages wholly inside `part` are not needed now; True if `part` maps a file."""
    owner, base = mapping(part)
    if owner is None or not part.flags.c_contiguous or not hasattr(mmap, "MADV_DONTNEED"):
        return False
    start = part.__array_interface__["data"][0] - base
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (start + part.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if last <= first:
        return False
    owner.madvise(mmap.MADV_DONTNEED, first, last - first)
    return True


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
