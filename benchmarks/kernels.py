"""Packed products as the registry does them on this device: bytes moved, speed as ratios, one run.

Per format and operation: bytes of weights, activations and results; on a GPU the time, the share of what copying an
array reaches here, and the time over that of MLX's own 4-bit mode (affine, groups of 64) for the same operation and
shape. Matrices are many enough that no cache holds them; minimum of interleaved rounds, so that a busy machine slows
all alike. Without a GPU: loads per weight from the executor of tests/metal and instructions and registers from
NVIDIA's compiler, no times. Formats as arguments; default: those with a kernel of ours.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np

from localq.formats import FORMATS, find
from localq.formats.base import Format, PackedTensor
from localq.kernels import own, registry
from localq.kernels.drawn import random_tensor

OUT, IN, DRAWN = 8192, 4096, 64  # 18 MB in q4_k; 64 rows are drawn and repeated
COLD = 256 << 20  # bytes of matrices that take turns: more than caches hold
NATIVE = "affine_4bit_g64"
ROUNDS = 5
EXPERTS, CHOSEN = 8, 2
TOKENS = {"vector": 1, "few": 8, "prompt": 512}


@dataclass(frozen=True)
class Run:
    """One operation on one format: what is timed, and the bytes that it must read and write."""

    call: Callable[[], list[mx.array]]
    nbytes: int  # of all that one call moves


def main(names: list[str]) -> int:
    formats = [_named(name) for name in names] or [e for f in FORMATS.values() if f.kernel for e in f.examples()]
    if registry.device() == "cpu":
        from tools.kernel_counts import show

        return show(formats)
    dtype = registry.activation_dtype(None)
    print(f"{registry.device()}, activations {dtype}, matrices {OUT} x {IN}")
    copied = copy_bandwidth()
    known = runs(FORMATS[NATIVE], dtype)
    native = fastest(known)
    for name, run in known.items():
        _line(NATIVE, name, "native", run, native[name], (copied, native[name]))
    del known
    for fmt in formats:
        found = runs(fmt, dtype)
        whose = registry.place(_tensor(fmt, OUT), dtype).kernel.NAME
        for name, seconds in fastest(found).items():
            _line(fmt.name, name, whose, found[name], seconds, (copied, native.get(name)))
    return 0


def _line(name: str, op: str, whose: str, run: Run, seconds: float, against: tuple[float, float | None]) -> None:
    """`against`: the bandwidth of copying, and MLX's own time for the operation where it has one."""
    share, own_time = run.nbytes / seconds / against[0], against[1]
    ratio = "" if own_time is None else f" {seconds / own_time:6.2f}x to native"
    size = f"{run.nbytes / 1e6:8.1f} MB {1e6 * seconds:9.1f} us"
    print(f"{name:<34}{op:<10}{whose:<11}{size}{share:8.1%} of copying{ratio}", flush=True)


def runs(fmt: type[Format], dtype: mx.Dtype) -> dict[str, Run]:
    """Every operation; each call goes over matrices that lie apart, so that weights come from memory."""
    t = _tensor(fmt, OUT)
    copies = max(1, COLD // t.nbytes)
    placed = [registry.place(t, dtype) for _ in range(copies)]
    found = {}
    for name, tokens in TOKENS.items():
        x = mx.random.normal((tokens, IN)).astype(dtype)
        mx.eval(x)
        moved = t.nbytes + tokens * (IN + OUT) * dtype.size
        found[name] = Run(partial(_products, placed, x), copies * moved)
    back = mx.random.normal((1, OUT)).astype(dtype)
    ids = mx.random.randint(0, OUT, (64,))
    mx.eval(back, ids)
    stored = copies * (t.nbytes + (IN + OUT) * dtype.size)
    found["stored"] = Run(lambda: [p.transposed(back) for p in placed], stored)
    rows = copies * 64 * (t.nbytes // OUT + IN * dtype.size)
    found["embedding"] = Run(lambda: [p.embedding(ids, dtype) for p in placed], rows)
    if all(isinstance(p.handle, own.OwnWeight) for p in placed):
        moved = copies * (t.nbytes + OUT * IN * dtype.size)
        found["decoded"] = Run(lambda: [p.handle.dense(dtype) for p in placed], moved)
    return found | {"experts": _experts(fmt, dtype)}


def _products(placed: list[registry.Placed], x: mx.array) -> list[mx.array]:
    return [p.matmul(x) for p in placed]


def _experts(fmt: type[Format], dtype: mx.Dtype) -> Run:
    """One token with two of eight experts, whose matrices have a quarter of the rows; every pair in turn."""
    part = _tensor(fmt, OUT // 4)
    stack = registry.place_stack([part] * EXPERTS, dtype)
    x, pairs = mx.random.normal((1, 1, IN)).astype(dtype), [mx.array([[i, i + 1]]) for i in range(0, EXPERTS, CHOSEN)]
    mx.eval(x, pairs)
    moved = CHOSEN * part.nbytes + (IN + CHOSEN * OUT // 4) * dtype.size
    return Run(lambda: [stack.gather(x, pair, False) for pair in pairs], len(pairs) * moved)


def fastest(found: dict[str, Run]) -> dict[str, float]:
    """Seconds of one call of each."""
    best = dict.fromkeys(found, float("inf"))
    for _ in range(ROUNDS + 1):  # the first compiles; minima forget it
        for name, run in found.items():
            start = time.perf_counter()
            mx.eval(run.call())
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of adding one to an array of `COLD` bytes."""
    plain = mx.zeros((COLD // 4,), mx.uint32)
    mx.eval(plain)
    seconds = fastest({"copy": Run(lambda: [plain + 1], 2 * COLD)})["copy"]
    return 2 * COLD / seconds


def _named(name: str) -> type[Format]:
    found = find(name)
    if found is None:
        raise SystemExit(f"'{name}' is no format that localq knows; see `localq formats`.")
    return found


def _tensor(fmt: type[Format], rows: int) -> PackedTensor:
    if fmt.family not in ("ggml", "mlx"):  # rows share arrays in many ways
        return fmt.sample((rows, IN), np.random.default_rng(0))
    few = random_tensor(fmt, (DRAWN, IN), np.random.default_rng(0))
    parts: dict[str, Any] = {n: np.tile(p, (rows // DRAWN, 1)) if p.ndim > 1 else p for n, p in few.parts.items()}
    return PackedTensor(fmt, (rows, IN), parts)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
