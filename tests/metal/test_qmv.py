"""Packed matrix times vectors, against float64, within a bound and not a guess.

A float32 dot product of n terms in any order, fused or not, is off by at most (n + 1) u |x|.|w|, u = 2^-24 (Higham,
Accuracy and Stability of Numerical Algorithms, 3.1); the weights are exact (test_decoders). Where codes and minima are
multiplied apart, |w| is |code| + |minimum|, at most |w| + 2 |minimum|. (iq1_s and iq1_m add a shift of an eighth apart,
which makes |w| at most 9/7 of itself; their sums are of 256 terms and more, none of which is rounded 64 times.) The
result is rounded once to the activations' dtype: half a step of it, of the exact value or of float16's smallest
subnormal. A vector of one 1 and zeros gives single weights, off by the few roundings between a code and its weight:
what a sum of 768 terms would hide.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from localq.formats.base import PackedTensor
from localq_metal.gather import gather
from localq_metal.qmv import ROWS, SIMDGROUPS, qmv
from localq_metal.source import Packed
from tests.metal.blocks import IN_EVERY_DTYPE, STEMS, minima, oracle, ordinary, packed, with_scale
from tests.metal.harness import CHECKED, FAST, FLUSH, Harness, Mode, modes

HALF_STEP = {mx.float32: 0.0, mx.float16: 2.0**-11, mx.bfloat16: 2.0**-8}
SINGLE_STEPS = 8  # roundings of 2^-24: scale times scale, times code, less minimum, sums of runs
SMALLEST = {mx.float32: 2.0**-126, mx.float16: 2.0**-25, mx.bfloat16: 2.0**-126}


def check(harness: Harness, stem: str, t: PackedTensor, x: mx.array, mode: Mode) -> None:
    w = oracle(t).astype(np.float64)
    v = np.array(x.astype(mx.float32)).astype(np.float64)
    want, size = v @ w.T, np.abs(v) @ (np.abs(w) + 2 * np.abs(minima(t))).T
    summed = (t.shape[1] + 1) * 2.0**-24 * size
    bound = summed + HALF_STEP[x.dtype] * (np.abs(want) + summed) + SMALLEST[x.dtype]
    y = qmv(harness.factory(mode), packed(t), x)
    assert y.dtype == x.dtype and y.shape == want.shape
    got = np.array(y.astype(mx.float32)).astype(np.float64)
    worst = np.unravel_index(np.argmax(np.abs(got - want) / bound), want.shape)
    assert np.isfinite(got).all() and (np.abs(got - want) <= bound).all(), (
        f"{mode.name}: {got[worst]} for {want[worst]} at {worst}: {(abs(got - want) / bound)[worst]:.2f} of bound"
    )


def draw(tokens: int, columns: int, dtype: mx.Dtype, scale: float = 1.0) -> mx.array:
    values = np.random.default_rng(3).standard_normal((tokens, columns)) * scale
    return mx.array(values.astype(np.float32)).astype(dtype)


@pytest.mark.parametrize("stem, dtype", IN_EVERY_DTYPE, ids=str)
def test_qmv_stays_within_its_bound_of_float64(harness: Harness, stem: str, dtype: mx.Dtype) -> None:
    rows = 21  # no multiple of the rows of a simdgroup, nor of a threadgroup
    assert rows % ROWS and rows % (ROWS * SIMDGROUPS)
    t = ordinary(stem, (rows, 768))
    peak = float(np.abs(oracle(t)).max())
    for mode in modes(dtype) if dtype == mx.float32 else (FAST, FLUSH):  # memory is watched in float32
        check(harness, stem, t, draw(1, 768, dtype, 1 / peak), mode)
    check(harness, stem, t, draw(3, 768, dtype, 1 / peak), FAST)


def single(width: int) -> list[int]:
    """Columns to be asked for alone: every place of a block of 256, not the first one of the row."""
    return list(range(max(0, width // 256 - 2) * 256, width))[:256]


@pytest.mark.parametrize("stem", sorted(STEMS))
def test_single_weights(harness: Harness, stem: str) -> None:
    t = ordinary(stem, (5, 768))
    columns = single(768)
    w, slack = oracle(t).astype(np.float64)[:, columns].T, np.broadcast_to(np.abs(minima(t)), (5, 768))[:, columns].T
    got = np.array(qmv(harness.factory(FAST), packed(t), mx.eye(768)[mx.array(columns)])).astype(np.float64)
    off = np.abs(got - w) / (SINGLE_STEPS * 2.0**-24 * (np.abs(w) + 2 * slack) + 2.0**-126)
    assert off.max() <= 1, f"{off.max():.2f} of the bound at {np.unravel_index(np.argmax(off), off.shape)}"


@pytest.mark.parametrize("stem", sorted(STEMS))
@pytest.mark.parametrize("rows, blocks", [(1, 1), (9, 3)])
def test_shapes_at_the_edge_in_checked_mode(harness: Harness, stem: str, rows: int, blocks: int) -> None:
    """Rows of one block and of three, 32 and 96 weights for some: fewer pieces than lanes."""
    columns = blocks * STEMS[stem].block_size
    check(harness, stem, ordinary(stem, (rows, columns)), draw(1, columns, mx.float32), CHECKED)


@pytest.mark.parametrize("stem", sorted(STEMS))
def test_extreme_scales_and_zeros(harness: Harness, stem: str) -> None:
    """The largest and smallest fp16 scales, in float32; a subnormal half is a normal float, so it is not flushed."""
    for scale in (65504.0, -65504.0, 6e-8, 0.0):
        for mode in (FAST, FLUSH):
            check(harness, stem, with_scale(stem, (21, 768), scale), draw(1, 768, mx.float32), mode)


def test_no_rows_and_no_tokens(harness: Harness) -> None:
    nothing = Packed("q4_k", (mx.zeros((8,), mx.uint8),), (0, 256))
    assert qmv(harness.factory(), nothing, mx.zeros((2, 256))).shape == (2, 0)
    assert qmv(harness.factory(), packed(ordinary("q4_k", (5, 256))), mx.zeros((0, 256))).shape == (0, 5)


@pytest.mark.parametrize("stem", sorted(STEMS))
def test_gather_is_qmv_of_the_expert_named(harness: Harness, stem: str) -> None:
    """Bit for bit, experts named twice and not at all, in checked mode: the sums are the same ones."""
    experts = [ordinary(stem, (21, 768), seed) for seed in range(3)]
    x, named = draw(4, 768, mx.float32), [2, 0, 2, 0]
    y = gather(harness.factory(CHECKED), packed(*experts), x, mx.array(named))
    for i, expert in enumerate(named):
        assert mx.array_equal(y[i], qmv(harness.factory(CHECKED), packed(experts[expert]), x[i : i + 1])[0])
