"""Products of several vectors with packed matrices, each within a bound of float64; see test_qmv.py for the bound.

An 8 x 8 product of simdgroups is a dot product in some order like any other. What sorts tokens by expert is compared
with what does not, and every way of multiplying serves the same formats: the body knows nothing of them.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from localq_metal.qmm import ROWS, qmm, sorted_qmm, tiles
from localq_metal.qmv import Shape, qmv_few
from localq_metal.qvm import qvm
from tests.metal.blocks import STEMS, oracle, ordinary, packed
from tests.metal.harness import CHECKED, FAST, FMA, Harness
from tests.metal.test_qmv import HALF_STEP, SMALLEST, draw

COLUMNS = 768  # no multiple of the 512 columns of a threadgroup of `qvm`
FEW_STEMS = ("q4_k", "q6_k")  # in every mode and dtype, memory watched; all others once


def within(got: mx.array, x: mx.array, w: np.ndarray, name: str = "") -> None:
    """`got` is `x [m, n]` times `w [n, k]`, or `w [m, n, k]`, up to its bound."""
    v = np.array(x.astype(mx.float32)).astype(np.float64)
    w = w.astype(np.float64)
    want, size = (np.einsum("mn,mnk->mk" if w.ndim == 3 else "mn,nk->mk", a, b) for a, b in ((v, w), (abs(v), abs(w))))
    summed = (v.shape[1] + 1) * 2.0**-24 * size
    bound = summed + HALF_STEP[x.dtype] * (np.abs(want) + summed) + SMALLEST[x.dtype]
    assert got.dtype == x.dtype and got.shape == want.shape
    off = np.abs(np.array(got.astype(mx.float32)).astype(np.float64) - want) / bound
    worst = np.unravel_index(np.argmax(off), off.shape)
    assert np.isfinite(off).all() and off.max() <= 1, f"{name}: {off.max():.2f} of the bound at {worst}"


def cases(stem: str) -> list[tuple]:
    if stem not in FEW_STEMS:
        return [(mx.float32, FAST)]
    every = [(mx.float32, FAST), (mx.float32, CHECKED), (mx.float16, FAST), (mx.bfloat16, FAST)]
    return [*every, (mx.float32, FMA)] if stem == "q4_k" else every


@pytest.mark.parametrize("stem", sorted(STEMS))
def test_every_product_of_every_format(harness: Harness, stem: str) -> None:
    t = ordinary(stem, (21, COLUMNS))
    w, held = oracle(t), packed(t)
    scale = 1 / float(np.abs(w).max())
    for dtype, mode in cases(stem):
        make = harness.factory(mode)
        x = draw(35, COLUMNS, dtype, scale)  # more than one tile of `qmm`
        within(qmv_few(make, held, x[:3]), x[:3], w.T, f"qmv_few {mode.name}")
        within(qmm(make, held, x), x, w.T, f"qmm {mode.name}")
        turned = draw(3, 21, dtype, scale)
        within(qvm(make, held, turned), turned, w, f"qvm {mode.name}")


@pytest.mark.parametrize("tokens, shape", [(2, Shape(4, 2)), (5, Shape(2, 4)), (13, Shape(1, 1)), (16, Shape(8, 2))])
def test_small_batches(harness: Harness, tokens: int, shape: Shape) -> None:
    t = ordinary("q4_k", (13, 512))
    x = draw(tokens, 512, mx.float32)
    within(qmv_few(harness.factory(CHECKED), packed(t), x, shape), x, oracle(t).T)


@pytest.mark.parametrize("tokens, rows, columns", [(1, 1, 256), (32, 64, 256), (33, 65, 512)])
def test_edges_of_tiles(harness: Harness, tokens: int, rows: int, columns: int) -> None:
    t, x = ordinary("q4_k", (rows, columns)), draw(tokens, columns, mx.float32)
    within(qmm(harness.factory(CHECKED), packed(t), x), x, oracle(t).T)


def test_columns_that_fill_no_step_of_the_tile(harness: Harness) -> None:
    """q4_0 has blocks of 32; nvfp4 and others of 16 leave half a step of 32 columns."""
    stem = "nvfp4_ggml" if "nvfp4_ggml" in STEMS else "q4_0"
    t = ordinary(stem, (5, 64 if stem == "nvfp4_ggml" else 96))
    x = draw(3, t.shape[1], mx.float32)
    within(qmm(harness.factory(CHECKED), packed(t), x), x, oracle(t).T)
    within(qvm(harness.factory(CHECKED), packed(t), draw(3, 5, mx.float32)), draw(3, 5, mx.float32), oracle(t))


@pytest.mark.parametrize("stem", ["q4_k", "q6_k"])
@pytest.mark.parametrize("named", [[2, 0, 2, 0, 4], [1] * 40, [4, 3, 2, 1, 0] * 9, [3]], ids=len)
def test_experts(harness: Harness, stem: str, named: list[int]) -> None:
    """Some named often, some never, some by more tokens than a tile has."""
    experts = [ordinary(stem, (21, 256), seed) for seed in range(5)]
    w = np.stack([oracle(t) for t in experts])[named]
    make = harness.factory(CHECKED)
    x = draw(len(named), 256, mx.float32)
    within(sorted_qmm(make, packed(*experts), x, mx.array(named)), x, w.swapaxes(1, 2))
    back = draw(len(named), 21, mx.float32)
    within(qvm(make, packed(*experts), back, mx.array(named)), back, w)


@pytest.mark.parametrize("experts", [1, 3, 8])
def test_tiles_cover_every_row_once(experts: int) -> None:
    rng = np.random.default_rng(experts)
    for tokens in (1, 5, 31, 32, 33, 100):
        for high in (1, experts):
            named = np.sort(rng.integers(0, high, tokens))
            listed = np.array(tiles(mx.array(named), experts))
            listed = listed[: len(listed) // 3 * 3].reshape(-1, 3)
            rows = [r for _, first, end in listed for r in range(first, end)]
            assert rows == list(range(tokens))
            assert all(end - first <= ROWS and (named[first:end] == e).all() for e, first, end in listed)


def test_nothing_to_multiply(harness: Harness) -> None:
    make, held = harness.factory(), packed(ordinary("q4_k", (5, 256)))
    assert qmm(make, held, mx.zeros((0, 256))).shape == (0, 5)
    assert qvm(make, held, mx.zeros((0, 5))).shape == (0, 256)
    with pytest.raises(ValueError, match="1 to 8 rows"):
        Shape(9, 1)
