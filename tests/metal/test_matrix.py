"""Every format times every operation times every dtype times every mode: LOCALQ_PROVE=1; one of them always.

All kernels of a format and a dtype are one library, compiled plain, fused and watched; lanes and sums turned round and
subnormals flushed need no other text. Shapes are multiples of nothing, of one row and of one block; weights are every
kind of row the decoders are tried with. Bounds of products are those of test_products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from localq_metal.dequantize import dequantize, rows
from localq_metal.gather import gather
from localq_metal.qmm import qmm, sorted_qmm
from localq_metal.qmv import qmv, qmv_few
from localq_metal.qvm import qvm
from localq_metal.several import several
from localq_metal.source import Packed
from tests.metal.around import bound_of, launches
from tests.metal.blocks import STEMS, every_kind, minima, oracle, ordinary, packed
from tests.metal.harness import CHECKED, FAST, FLUSH, FMA, NUMPY, Harness, KernelError, Mode
from tests.metal.recorded import Trial, library, recorded, run
from tests.metal.test_decoders import LEAST
from tests.metal.test_layouts import FUSED, NAMES, between, drawn, held
from tests.metal.test_qmv import HALF_STEP, SMALLEST

REVERSED = Mode("reversed", reversed=True, sum_order=1)
MODES = {"plain": (FAST, REVERSED, FLUSH), "fused": (FMA,), "watched": (CHECKED,)}
DTYPES = {mx.float32: np.float32, mx.float16: np.float16, mx.bfloat16: ml_dtypes.bfloat16}
SAMPLE = ("q5_1", mx.float16)
COLUMNS = 768
CASES = [
    pytest.param(name, dtype, marks=() if (name, dtype) == SAMPLE else pytest.mark.slow)
    for name in (*sorted(STEMS), *NAMES)
    for dtype in DTYPES
]


class Weights:
    """A format's matrices: one of every kind of row, two ordinary ones, one of a single row; what they decode to."""

    def __init__(self, name: str) -> None:
        self.ggml = name in STEMS
        make = (lambda *a: ordinary(name, *a)) if self.ggml else None
        hold: Callable[..., Packed] = packed if self.ggml else held
        decode: Any = oracle if self.ggml else between
        if make:
            kinds, two = every_kind(name, COLUMNS), [make((21, COLUMNS), seed) for seed in range(2)]
            small = make((1, max(256, STEMS[name].block_size)))
        else:
            two = [drawn(name, seed=seed) for seed in range(2)]
            kinds, small = two[0], two[1]
        self.kinds, self.small, self.stack, self.two = hold(kinds), hold(small), hold(*two), [hold(t) for t in two]
        self.one = self.two[0]
        self.all_kinds, self.alone = decode(kinds), decode(small)
        self.w = np.stack([decode(t) for t in two]).astype(np.float64)
        self.slack = np.stack(
            [np.abs(minima(t)) * np.ones_like(w) if self.ggml else 0 * w for t, w in zip(two, self.w, strict=True)]
        )


def trials(k: Weights, dtype: mx.Dtype) -> Iterator[Trial]:
    """Every operation once, with activations of `dtype`."""
    out, width = k.w.shape[1:]
    scale = 1 / float(np.abs(k.w).max())
    rng = np.random.default_rng(3)

    def draw(tokens: int, size: int) -> tuple[mx.array, np.ndarray]:
        x = mx.array((rng.standard_normal((tokens, size)) * scale).astype(np.float32)).astype(dtype)
        return x, np.array(x.astype(mx.float32)).astype(np.float64)

    def exact(name: str, call: Any, want: np.ndarray) -> Trial:
        with np.errstate(all="ignore"):
            return Trial(recorded(call), want.astype(DTYPES[dtype]).astype(np.float32), None, name)

    def near(name: str, call: Any, v: np.ndarray, w: np.ndarray, slack: np.ndarray) -> Trial:
        """`w [m, k, n]`: what each row of v is multiplied with."""
        want = np.einsum("mk,mkn->mn", v, w)
        size = np.einsum("mk,mkn->mn", np.abs(v), np.abs(w) + 2 * slack)
        summed = (v.shape[1] + 1) * 2.0**-24 * size
        bound = summed + HALF_STEP[dtype] * (np.abs(want) + summed) + SMALLEST[dtype]
        return Trial(recorded(call), want, bound, name)

    yield exact("dequantize", lambda f: dequantize(f, k.kinds, dtype), k.all_kinds)
    yield exact("one row", lambda f: dequantize(f, k.small, dtype), k.alone)
    ids = [out - 1, 0, 2]
    yield exact("rows", lambda f: rows(f, k.one, mx.array(ids), dtype), k.w[0][ids].astype(np.float32))
    straight, turned, named = k.w.swapaxes(1, 2), k.w, np.array([1, 0, 1])
    slack = k.slack.swapaxes(1, 2)
    for name, op, tokens in (("qmv", qmv, 1), ("qmv_few", qmv_few, 5), ("qmm", qmm, 35)):
        x, v = draw(tokens, width)
        first = [0] * tokens
        yield near(name, lambda f, op=op, x=x: op(f, k.one, x), v, straight[first], slack[first])
    x, v = draw(3, width)
    yield near("gather", lambda f: gather(f, k.stack, x, mx.array(named)), v, straight[named], slack[named])
    order = np.argsort(named, kind="stable")
    put = lambda f: sorted_qmm(f, k.stack, x, mx.array(named))  # noqa: E731
    yield near("sorted_qmm", put, v[order], straight[named][order], slack[named][order])
    both = np.concatenate([k.w[0], k.w[0]]).T[None]
    both_slack = np.concatenate([k.slack[0], k.slack[0]]).T[None]
    yield near("several", lambda f: several(f, [k.one, k.one], x[:1]), v[:1], both, both_slack)
    back, b = draw(3, out)
    yield near("qvm", lambda f: qvm(f, k.one, back[:2]), b[:2], turned[[0, 0]], 0 * turned[[0, 0]])
    for at in launches(k.two, k.stack, k.w, k.slack, dtype):
        yield Trial(recorded(at.call), at.want, bound_of(at.want, at.off, dtype), at.name)
    yield near("qvm of a stack", lambda f: qvm(f, k.stack, back, mx.array(named)), b, turned[named], 0 * turned[named])


def floats(out: np.ndarray, dtype: mx.Dtype) -> np.ndarray:
    return out.view(DTYPES[dtype] if dtype == mx.bfloat16 else NUMPY[dtype]).astype(np.float32)


def right(trial: Trial, got: np.ndarray, mode: Mode, step: float) -> bool:
    """As `Trial.passes`, but for what a mode may change: subnormal weights; a decoder's fused sums, by a rounding.

    `step`: of the dtype, relative; 0 where nothing that a decoder computes changes when fused.
    """
    got = got.reshape(trial.want.shape)
    if trial.bound is not None:
        return trial.passes(got.astype(np.float64))
    same = (got == trial.want) | (np.isnan(got) & np.isnan(trial.want))
    if mode.flush:
        same |= (np.abs(trial.want) < LEAST) & (got == 0)
    if mode.fma and step:
        same |= np.abs(got - trial.want) <= 2.0**-22 * np.abs(trial.want).max() + step * np.abs(trial.want)
    return bool(same.all())


@pytest.mark.parametrize("name, dtype", CASES, ids=str)
def test_everything(harness: Harness, name: str, dtype: mx.Dtype) -> None:
    with np.errstate(all="ignore"):
        weights = Weights(name)
        each = list(trials(weights, dtype))
    stored = [trial.recorded.inputs() for trial in each]
    for kind, modes in MODES.items():
        path, parameters = library(harness, [t.recorded.text for t in each], modes[0], [])
        for mode in modes:
            for at, trial in enumerate(each):
                try:
                    out = run(path, at, trial, stored[at], parameters[at], mode)
                except KernelError as error:
                    pytest.fail(f"{trial.name}, {kind}: {error}")
                step = 0.0 if weights.ggml or name in FUSED else 2 * HALF_STEP[dtype] or 2.0**-23
                assert right(trial, floats(out, dtype), mode, step), f"{trial.name}, {mode.name}"
        path.unlink()
