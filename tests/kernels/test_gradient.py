"""Derivatives of packed products by their activations, against MLX's own of the decoded matrices."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest

from localq.formats import FORMATS
from localq.kernels import registry
from localq.kernels.checks import random_tensor

FEW, MANY = 3, 11
IMPLEMENTATIONS = {"reference": "q4_k", "native": "affine_4bit_g64"}  # -> a format it holds


def close(mine: Callable[[mx.array], mx.array], dense: Callable[[mx.array], mx.array], x: mx.array) -> None:
    """Gradients of a curved function of both, so that the cotangents differ from one place to the next."""
    got, want = (mx.grad(lambda v, f=f: mx.square(f(v)).sum())(x) for f in (mine, dense))
    assert got.shape == want.shape == x.shape and got.dtype == x.dtype
    assert np.abs(np.array(got - want)).max() <= 1e-5 * np.abs(np.array(want)).max()
    assert np.abs(np.array(want)).max() > 0


def draw(*shape: int) -> mx.array:
    return mx.array(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LOCALQ_KERNELS", request.param)
    return IMPLEMENTATIONS[request.param]


def test_of_a_matrix_both_ways(name: str) -> None:
    t = random_tensor(FORMATS[name], (24, 256), np.random.default_rng(1))
    placed, w = registry.place(t, mx.float32), mx.array(t.dequantize())
    for tokens in (FEW, MANY):
        close(placed.matmul, lambda v: v @ w.T, draw(2, tokens, 256))
        close(placed.transposed, lambda v: v @ w, draw(2, tokens, 24))


def test_of_experts_and_heads(name: str) -> None:
    each = [random_tensor(FORMATS[name], (64, 256), np.random.default_rng(i)) for i in range(3)]
    placed, w = registry.place_stack(each, mx.float32), mx.array(np.stack([t.dequantize() for t in each]))
    ids = mx.array([[2, 1], [0, 0], [1, 2]])
    spread = draw(3, 1, 1, 256)  # one row for both of its experts: its gradient is a sum
    close(
        lambda v: placed.gather(v, ids, False),
        lambda v: mx.broadcast_to(v, (3, 2, 1, 256)) @ w[ids].swapaxes(-1, -2),
        spread,
    )
    close(lambda v: placed.gather(v, ids, False, transpose=False), lambda v: v @ w[ids], draw(3, 2, 1, 64))
    close(lambda v: placed.multi(v, True), lambda v: v @ w.swapaxes(-1, -2), draw(2, 3, 4, 256))
    close(lambda v: placed.multi(v, False), lambda v: v @ w, draw(2, 3, 4, 64))
