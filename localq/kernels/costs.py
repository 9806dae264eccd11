"""Which of localq's own products is cheapest for so many tokens: bytes moved and arithmetic, nothing else.

Costs are in bytes that the memory could have moved in the time, per weight of a matrix, so that only one number of a
chip matters: its balance, floating point operations per byte of bandwidth. Those of Apple's chips are prompt speeds of
llama.cpp over its own figures of bandwidth (ggml-org/llama.cpp discussions 4167, Llama-2 7B Q4_0, 512 tokens: M1 Max
7.1 TFLOP/s at 400 GB/s, M2 Max 9.0 at 400, M3 Max 10.2 at 400, M4 Max 11.9 at 546; M5 Max 13 at 614 with matrices of
simdgroups and 45 with the matrix units that MLX's own products use and kernels written for `metal_kernel` cannot).
localq has not measured its kernels on any of them; `localq bench --tune` does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from localq_metal.qmm import ROWS
from localq_metal.qmv import BATCHES

DECODE = 8.0  # operations to decode a weight, about: the structs have 4 to 12
MOST = BATCHES[-1]
NORM = 3.0  # operations of a norm for every element of x that a simdgroup reads: x * gain, and a square added
# Bytes that the memory could have moved while a launch passes. mlx-lm's figures for Qwen3-4B on an M4 Max, from 4 to 16
# bits (its BENCHMARKS.md), leave 3 ms for a token beside its bytes at 500 GB/s: 4.3 microseconds for each of its 19
# launches in 36 layers.
LAUNCH = 2e6


class Balance(NamedTuple):
    """Operations per byte: `own` of what a kernel of ours reaches, `mlx` of MLX's product of plain floats."""

    own: float
    mlx: float
    tiles: bool = True  # whether matrices of simdgroups exist


FAMILIES = {
    "Apple M1": Balance(18, 18),
    "Apple M2": Balance(22, 22),
    "Apple M3": Balance(25, 25),
    "Apple M4": Balance(22, 22),
    "Apple M5": Balance(21, 73),
    "Apple M6": Balance(21, 73),
    "Apple": Balance(20, 20),
    "NVIDIA": Balance(20, 160, tiles=False),
}


def balance(device_name: str) -> Balance:
    """Of a device by its name, by the longest family that begins it; anything unknown counts as an early Apple chip."""
    found = [f for f in FAMILIES if f"{device_name} ".startswith(f"{f} ")]
    return FAMILIES[max(found, key=len)] if found else FAMILIES["Apple"]


def matrix(tokens: int, bits: float, itemsize: int, chip: Balance) -> str:
    """How to multiply `tokens` vectors with one matrix of `bits` per weight: "vector", "few", "tiles" or "decoded"."""
    if tokens <= 1:
        return "vector"
    padded = math.ceil(tokens / ROWS) * ROWS  # MLX's tiles have 32 rows too
    ways = {"decoded": bits / 8 + 2 * itemsize + 2 * padded / chip.mlx}
    if tokens <= MOST:
        ways["few"] = bits / 8 + (2 * tokens + DECODE) / chip.own
    if chip.tiles:
        ways["tiles"] = bits / 8 + padded * (2 + DECODE / ROWS) / chip.own
    return min(ways, key=lambda name: ways[name])


def prologue(rows: int, weights: int, bits: float, chip: Balance) -> bool:
    """Whether a norm costs less within the product of one vector, once for every `rows` rows, than by itself."""
    alone = max(bits / 8, (2 + DECODE) / chip.own)
    within = max(bits / 8, (2 + DECODE + NORM / rows) / chip.own)
    return (within - alone) * weights < LAUNCH


def experts(rows: int, count: int, bits: float, itemsize: int, chip: Balance) -> str:
    """How to multiply `rows` vectors, each with one of `count` matrices: "each" by itself, "sorted" into tiles, or,
    where there are no tiles, all "decoded" for MLX's product."""
    each = rows * (bits / 8 + (2 + DECODE) / chip.own)
    if not chip.tiles:
        return stored(rows, count, bits, itemsize, chip)
    begun = min(rows, count)
    tiled = begun * bits / 8 + (begun + rows / ROWS) * (2 * ROWS + DECODE) / chip.own
    return "sorted" if tiled < each else "each"


def stored(rows: int, count: int, bits: float, itemsize: int, chip: Balance) -> str:
    """The same with matrices as they are stored: "each" packed, or all "decoded" for MLX's product."""
    each = rows * (bits / 8 + (2 + DECODE) / chip.own)
    decoded = count * (bits / 8 + 2 * itemsize) + 2 * rows / chip.mlx
    return "each" if each <= decoded else "decoded"
