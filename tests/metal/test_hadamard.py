"""Rotations of activations against MLX's own Hadamard transform (its CPU back-end), and the ways back."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from localq.formats.hadamard_orders import product
from localq.kernels.inputs import WHOLE, Rotation
from localq.kernels.rotations import Turn, rotate
from localq_metal.hadamard import ORDERS, hadamard
from tests.metal.harness import CHECKED, FAST, FMA, Harness


@pytest.mark.parametrize("order", ORDERS)
def test_hadamard(harness: Harness, order: int) -> None:
    """log2(order) sums, each off by half a step: within log2(order) u |H| |x|. An odd number of vectors, all modes."""
    x = np.random.default_rng(order).standard_normal((3, order)).astype(np.float32)
    h = np.array(mx.hadamard_transform(mx.eye(order), scale=1.0)).astype(np.float64)
    assert set(np.unique(h)) == {-1.0, 1.0} and np.array_equal(h @ h.T, order * np.eye(order))
    want, bound = x @ h, np.log2(order) * 2.0**-24 * np.abs(x).sum(1, keepdims=True) * 1.01
    for mode in (FAST, CHECKED, FMA) if order in (32, 128) else (FAST,):
        got = np.array(hadamard(harness.factory(mode), mx.array(x), order))
        assert (np.abs(got - want) <= bound).all(), mode.name
    small = np.random.default_rng(0).integers(-8, 9, (5, order)).astype(np.float32)  # summed without rounding
    for dtype in (mx.float16, mx.bfloat16):
        got = np.array(hadamard(harness.factory(), mx.array(small).astype(dtype), order))
        assert np.array_equal(got, small @ h)


def test_no_vectors(harness: Harness) -> None:
    assert hadamard(harness.factory(), mx.zeros((0, 128)), 128).shape == (0, 128)


@pytest.mark.parametrize("width", [16, 128, 2048, 192, 896, 11008])
@pytest.mark.parametrize("transposed", [False, True])
def test_whole_vectors(harness: Harness, width: int, transposed: bool) -> None:
    x = np.random.default_rng(0).standard_normal((2, width)).astype(np.float32)
    got = np.array(rotate(harness.factory(), mx.array(x), WHOLE, transposed))
    assert np.abs(got - product(x, transposed)).max() < 2e-6 * np.abs(x).max() * np.sqrt(np.log2(width))


def test_the_way_back_is_the_transpose(harness: Harness) -> None:
    """<apply(x), y> = <x, back(y)>, with orders and scales, of one matrix and of a stack."""
    rng = np.random.default_rng(0)
    each = []
    for _ in range(2):
        before, after = rng.standard_normal((2, 192)).astype(np.float32)
        each.append(Rotation(64, False, before, after, rng.permutation(192).astype(np.int32)))
    x, y = rng.standard_normal((2, 3, 192)).astype(np.float32)
    which = mx.array([1, 0, 1])
    for turn, at in ((Turn.of(each[:1], False), None), (Turn.of(each, True), which)):
        assert turn is not None
        there, back = turn.apply(harness.factory(), mx.array(x), at), turn.back(harness.factory(), mx.array(y), at)
        left, right = (np.array(there) * y).sum(1), (x * np.array(back)).sum(1)
        assert np.allclose(left, right, rtol=1e-4)
