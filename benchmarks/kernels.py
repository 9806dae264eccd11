"""Packed matrix times one vector, as the registry does it on this device: speed as ratios, one run.

Bytes are those of the packed weights; bandwidth is what copying an array of about that size reaches here; "to native"
is the time over that of MLX's own 4-bit kernel (affine, groups of 64) on a matrix of the same shape. Minimum of
interleaved rounds, so that a busy machine slows all alike. Formats as arguments; default: those with a kernel of ours.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import mlx.core as mx
import numpy as np

from localq.formats import FORMATS, find
from localq.formats.base import Format, PackedTensor
from localq.kernels import registry
from localq.kernels.checks import random_tensor

OUT, IN, DRAWN = 8192, 4096, 64  # 18 MB in q4_k: more than caches hold; 64 rows are drawn and repeated
NATIVE = "affine_4bit_g64"
ROUNDS = 7


def main(names: list[str]) -> int:
    formats = [_named(name) for name in names] or [e for f in FORMATS.values() if f.kernel for e in f.examples()]
    dtype = registry.activation_dtype(None)
    x = mx.random.normal((1, IN)).astype(dtype)
    runs: dict[str, Callable[[], mx.array]] = {}
    facts: dict[str, tuple[str, int]] = {}
    for fmt in [FORMATS[NATIVE], *formats]:
        t = _tensor(fmt)
        placed = registry.place(t, dtype)
        runs[fmt.name] = lambda placed=placed: placed.matmul(x)
        facts[fmt.name] = (placed.kernel.NAME, t.nbytes)
    plain = mx.zeros((facts[formats[0].name][1] // 2,), mx.uint8)  # copying reads and writes: the bytes of one read
    mx.eval(plain, x)
    runs["copy"] = lambda: plain + mx.array(1, mx.uint8)
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            best[name] = min(best[name], _seconds(run))
    copied = 2 * plain.nbytes / best["copy"]
    print(f"{registry.device()}, activations {dtype}, matrix {OUT} x {IN}, one vector")
    for name, (implementation, nbytes) in facts.items():
        share, ratio = nbytes / best[name] / copied, best[name] / best[NATIVE]
        print(f"{name:<34}{implementation:<11}{nbytes / 1e6:7.1f} MB  {share:6.1%} of copying  {ratio:6.2f}x to native")
    return 0


def _named(name: str) -> type[Format]:
    found = find(name)
    if found is None:
        raise SystemExit(f"'{name}' is no format that localq knows; see `localq formats`.")
    return found


def _tensor(fmt: type[Format]) -> PackedTensor:
    if fmt.family not in ("ggml", "mlx"):  # rows share arrays in many ways
        return fmt.sample((OUT, IN), np.random.default_rng(0))
    few = random_tensor(fmt, (DRAWN, IN), np.random.default_rng(0))
    return PackedTensor(fmt, (OUT, IN), {n: np.tile(p, (OUT // DRAWN, 1)) for n, p in few.parts.items()})


def _seconds(run: Callable[[], mx.array]) -> float:
    start = time.perf_counter()
    mx.eval(run())
    return time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
