"""Every kernel this machine would use, compared with float64 arithmetic on a small random tensor of each format.

`localq doctor --kernels` prints what `check_all` returns. Tensors are drawn, not read: a stored code of every kind
turns up, and shapes are those of small real layers (fewer than 8 elements would take another path on a GPU). What the
reference itself makes of a tensor is compared with stored values (`golden`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localq.formats.base import Format, PackedTensor
from localq.kernels import golden, layer_checks, own, registry
from localq.kernels.drawn import random_tensor as random_tensor

OUT, IN, EXPERTS = 128, 512, 3
TOKENS = (1, 5, 40)  # one vector, a few, a prefill: a kernel each
DECODED = 1e-6  # error of weights written out in float32: a fused sum, the rotation of some formats
Run = tuple[Callable[[], mx.array], NDArray[np.float64]]  # what is computed, and what it should give


@dataclass(frozen=True)
class KernelCheck:
    """One (op, format, dtype of activations) on this device: who computes it and how far it is from float64.

    `error` is the rms of the difference over the rms of the result, `limit` what counts as right, `worst` the largest
    difference over the largest result. `note` says why a faster kernel was given up, or what this one raised.
    """

    op: str
    format: str
    implementation: str
    device: str
    error: float
    limit: float
    dtype: str = "float32"
    worst: float = 0.0
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether the kernel may be trusted and is the one that was meant to compute."""
        return self.error <= self.limit and not self.note


def check_all(
    formats: Iterable[type[Format]] | None = None, dtypes: Sequence[mx.Dtype] | None = None
) -> Iterator[KernelCheck]:
    """Check every op of every format (default: the whole registry) with activations of `dtypes`.

    Default: on a GPU float32, float16 and bfloat16, on a CPU float32, in which models run there.
    """
    from localq.formats import FORMATS

    gpu = registry.device() != "cpu"
    dtypes = dtypes or ((mx.float32, mx.float16, mx.bfloat16) if gpu else (mx.float32,))
    for fmt in FORMATS.values() if formats is None else formats:
        for example in fmt.examples():
            for dtype in dtypes:
                yield from check_format(example, dtype, TOKENS if gpu else (5,))
                if gpu and own.serves("matmul", example):
                    yield from check_decoding(example, dtype)
                    yield from check_layers(example, dtype)
    for dtype in dtypes if gpu and formats is None else ():
        yield from check_layers(None, dtype)


def check_format(fmt: type[Format], dtype: mx.Dtype, tokens: Sequence[int] = (5,)) -> Iterator[KernelCheck]:
    """Check every op of one format; the product with a matrix for each number of tokens, the worst of which counts."""
    rng = np.random.default_rng(1)
    experts = [random_tensor(fmt, (OUT, IN), rng) for _ in range(EXPERTS)]
    one, why_one = _noted(lambda: registry.place(experts[0], dtype))
    stack, why_stack = _noted(lambda: registry.place_stack(experts, dtype))
    weights = np.stack([t.dequantize() for t in experts]).astype(np.float64)
    wide, tall = _draw(rng, (5, IN), dtype), _draw(rng, (5, OUT), dtype)
    heads = _draw(rng, (EXPERTS, 5, IN), dtype)
    ids, chosen = mx.array([3, 0, 95, 3]), mx.array([2, 0, 0, 1, 2])
    pieces = [_draw(np.random.default_rng(n), (n, IN), dtype) for n in tokens]
    ops: dict[str, list[Run]] = {
        "matmul": [(partial(one.matmul, x), _floats(x) @ weights[0].T) for x in pieces],
        "transposed": [(lambda: one.transposed(tall), _floats(tall) @ weights[0])],
        "embedding": [(lambda: one.embedding(ids, dtype), weights[0][np.asarray(ids)])],
        "gather": [
            (
                lambda: stack.gather(wide[:, None], chosen, False),
                np.einsum("ti,toi->to", _floats(wide), weights[np.asarray(chosen)])[:, None],
            )
        ],
        "multi": [(lambda: stack.multi(heads, True), np.einsum("hti,hoi->hto", _floats(heads), weights))],
    }
    for op, runs in ops.items():
        whose, why = (one, why_one) if op in ("matmul", "transposed", "embedding") else (stack, why_stack)
        yield _check((op, fmt.name, whose.kernel.NAME), runs, dtype, why)


def check_decoding(fmt: type[Format], dtype: mx.Dtype) -> Iterator[KernelCheck]:
    """Our kernel that writes all weights of a format out, on the tensor of its golden case, whoever multiplies it."""
    t = golden.tensor(fmt)
    if not own.holds(t):
        return
    runs: list[Run] = [(lambda: _held(t, dtype).dense(dtype), t.dequantize().astype(np.float64))]
    yield _check(("dequantize", fmt.name, own.NAME), runs, dtype, "")


def check_layers(fmt: type[Format] | None, dtype: mx.Dtype) -> Iterator[KernelCheck]:
    """The launches of fused layers of this format; None: those that read no packed weights."""
    found = layer_checks.of_none(dtype) if fmt is None else layer_checks.of_format(fmt, dtype)
    for op, runs in found.items():
        yield _check((op, "any" if fmt is None else fmt.name, own.NAME), runs, dtype, "")


def check_stored(formats: Iterable[type[Format]] | None = None) -> Iterator[KernelCheck]:
    """The stored cases: of the reference on any machine, on a GPU also of our kernels that write weights out."""
    asked = None if formats is None else list(formats)
    for name, right in golden.check(asked):
        yield KernelCheck("golden", name, "reference", "numpy", 0.0 if right else float("inf"), 0.0)
    for peer in golden.asked(asked) if registry.device() != "cpu" else ():
        t = peer.tensor
        if own.serves("matmul", t.format) and own.holds(t):
            yield _check_peer(peer)


def _check_peer(peer: golden.Peer) -> KernelCheck:
    """Our kernel's weights against those of the method's package, as the reference has them."""
    t = peer.tensor
    runs: list[Run] = [(lambda: _held(t, mx.float32).dense(mx.float32), t.dequantize().astype(np.float64))]
    found = _check(("golden", t.format.name, own.NAME), runs, mx.float32, "")
    return replace(found, limit=DECODED)


def _held(t: PackedTensor, dtype: mx.Dtype) -> own.OwnWeight:
    held = own.prepare(t, dtype)
    assert held is not None, t.format.name
    return held


def _noted(place: Callable[[], Any]) -> tuple[Any, str]:
    """What was placed, and what the registry warned of meanwhile."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        placed = place()
    return placed, " ".join(str(w.message) for w in said if issubclass(w.category, RuntimeWarning))


def _check(who: tuple[str, str, str], runs: list[Run], dtype: mx.Dtype, note: str) -> KernelCheck:
    where, error, worst = registry.device(), 0.0, 0.0
    for run, want in runs:
        try:
            got = _floats(run())
        except (RuntimeError, ValueError) as raised:  # MLX reports compilers and refused threadgroups at evaluation
            error = worst = float("inf")
            note = note or (str(raised).splitlines() or [type(raised).__name__])[0][:200]
            continue
        error = max(error, relative_error(got, want))
        worst = max(worst, largest_error(got, want))
    limit = registry.tolerance(dtype, where)
    return KernelCheck(*who, where, error, limit, str(dtype).rpartition(".")[2], worst, note)


def largest_error(got: NDArray[np.float64], want: NDArray[np.float64]) -> float:
    """The largest difference over the largest of `want`; infinite as in `relative_error`."""
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.abs(got - want).max(initial=0) / max(float(np.abs(want).max(initial=0)), 1e-300))


def relative_error(got: NDArray[np.float64], want: NDArray[np.float64]) -> float:
    """rms of the difference over the rms of `want`; infinite where shapes differ or a value is no number."""
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.sqrt(np.mean((got - want) ** 2)) / max(float(np.sqrt(np.mean(want**2))), 1e-300))


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    return mx.array(rng.standard_normal(shape).astype(np.float32)).astype(dtype)


def _floats(x: mx.array) -> NDArray[np.float64]:
    return np.asarray(x.astype(mx.float32)).astype(np.float64)
