"""Loads of a kernel, counted by the executor's checked mode: how often each input is read, and how many bytes in all.

A load is one of the text as g++ takes it in, before it is optimised: lanes are not put together, and what a GPU would
keep in a register or a cache is counted again. Good for comparing two texts; says nothing about time.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, NamedTuple

from tests.metal.harness import CHECKED, Buffers, Harness, Mode, launch


class Loads(NamedTuple):
    """Of one input in one launch."""

    times: int
    bytes: int


class Counting(Harness):
    """A harness that keeps what the last launch read, by the names of its inputs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.last: dict[str, Loads] = {}

    def run(self, cpp: str, prelude: str, buffers: Buffers, size: tuple[Any, Any], mode: Mode) -> None:
        library = self.library(cpp, mode, prelude)
        held = ctypes.CDLL(str(library))  # the counts are its own, and go with it
        launch(library, buffers, *size, mode)
        times, total = ((ctypes.c_uint64 * len(buffers))() for _ in range(2))
        held.lq_counted(times, total)
        names = [parameter.name for _, parameter in buffers]
        self.last = {n: Loads(t, b) for n, t, b in zip(names, times, total, strict=True)}

    def count(self, call: Any) -> dict[str, Loads]:
        """What the one launch of `call(factory)` reads."""
        call(self.factory(CHECKED))
        return self.last
