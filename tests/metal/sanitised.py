"""Launches under g++'s address and undefined-behaviour sanitisers, each a process of its own.

They see what the checked mode does not: indices past private arrays and arrays in private memory, shifts by the width
of a type and more, overflow of signed numbers, floats that no integer holds. What reads a variable that nobody set is
found by filling such variables with two patterns: the results must be the same. Threads of a kernel are fibers of one
thread here, so a thread sanitiser would see none of them; races are the checked mode's.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.metal.harness import HERE, Buffers, Harness, KernelError, Mode, _gxx
from tests.metal.translate import plain_casts

WATCHED = ["-fsanitize=address,undefined,float-cast-overflow,bounds-strict", "-fno-sanitize-recover=all", "-g"]
FILLS = ("pattern", "zero")  # of variables that nobody set; the first run is the watched one
OPTIONS = {"ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0", "UBSAN_OPTIONS": "print_stacktrace=0"}


@cache
def missing() -> str:
    """Why nothing can be watched here, "" if it can."""
    trial = subprocess.run(
        ["g++", *WATCHED, "-ftrivial-auto-var-init=zero", "-x", "c++", "-o", os.devnull, "-"],
        input="int main() {}", capture_output=True, text=True,
    )  # fmt: skip
    return (
        ""
        if trial.returncode == 0
        else "g++ has no address and undefined-behaviour sanitisers here (libasan, libubsan)"
    )


def run(harness: Harness, cpp: str, prelude: str, buffers: Buffers, size: tuple[Any, Any], mode: Mode) -> None:
    """One launch (`size`: grid, threadgroup); outputs are written into `buffers`.

    Raises:
        KernelError: with the sanitisers' words, the line of the kernel in them; where results depend on what unset
            variables hold.
    """
    results = []
    for fill in FILLS:
        program = _program(harness, cpp, prelude, fill, mode)
        results.append(_launched(program, buffers, size, mode))
    if results[0] != results[1]:
        raise KernelError("uninitialised: results change with what variables hold that nobody set")
    at = 0
    for data, parameter in buffers:
        if parameter.output:
            data[:] = np.frombuffer(results[0], np.uint8)[at : at + data.nbytes]
            at += data.nbytes


def _program(harness: Harness, cpp: str, prelude: str, fill: str, mode: Mode) -> Path:
    plain = [f for f in harness.flags(mode) if f != "-O1"]  # optimised, an unset variable is taken for what suits
    flags = [*plain, "-O0", f"-ftrivial-auto-var-init={fill}"] + (WATCHED if fill == FILLS[0] else [])
    key = harness.key(flags, prelude, cpp)
    if key not in harness.compiled:
        source = harness.folder / f"{key}.cpp"
        source.write_text(plain_casts(cpp))
        main = harness.folder / "program.o"
        if not main.exists():
            _gxx("-std=gnu++17", "-O1", "-c", "-o", main, HERE / "program.cpp")
        made = source.with_suffix(".o")
        _gxx(*flags, "-include", harness.prelude(flags, prelude), "-c", "-o", made, source)
        linked = WATCHED if fill == FILLS[0] else []
        _gxx(*linked, "-o", made.with_suffix(""), made, main, harness.executor)
        harness.compiled[key] = made.with_suffix("")
    return harness.compiled[key]


def _launched(program: Path, buffers: Buffers, size: tuple[Any, Any], mode: Mode) -> bytes:
    """The bytes of all outputs, one after another."""
    options = (int(mode.reversed), mode.sum_order, int(mode.flush), 0)
    told = struct.pack("=5i6I", len(buffers), *options, *size[0], *size[1])
    for data, parameter in buffers:
        offset = data.ctypes.data % 256 if mode.offset else 0
        told += struct.pack("=Q2i", data.nbytes, int(parameter.output), offset) + data.tobytes()
    given, taken = program.with_suffix(".in"), program.with_suffix(".out")
    given.write_bytes(told)
    done = subprocess.run([program, given, taken], capture_output=True, text=True, env={**os.environ, **OPTIONS})
    if done.returncode:
        said = re.search(r"(kernel:\d+.*runtime error: .*|ERROR: AddressSanitizer: .*)", done.stderr)
        raise KernelError((said[1] if said else done.stderr or f"exit {done.returncode}")[:2000])
    return taken.read_bytes()
