"""Adapters on packed bases: derivatives of own kernels on the executor, as MLX's trainer asks for them."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from localq.kernels import own, registry
from localq.models.linear import PackedLinear, PackedMultiLinear, PackedSwitchLinear
from tests.kernels.test_gradient import close, draw
from tests.metal.blocks import ordinary
from tests.metal.harness import Harness


@pytest.fixture(autouse=True)
def mac(monkeypatch: pytest.MonkeyPatch, harness: Harness) -> None:
    made = harness.factory()
    monkeypatch.delenv("LOCALQ_KERNELS", raising=False)
    monkeypatch.setattr(registry, "_VERDICTS", {})
    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(own, "factory", lambda: made)


def test_of_a_matrix() -> None:
    t = ordinary("q4_k", (32, 256))
    layer, w = PackedLinear([t], mx.float32), mx.array(t.dequantize())
    assert layer.placed[0].kernel is own and layer.training
    for tokens in (2, 600):
        close(layer, lambda v: v @ w.T, draw(tokens, 256))


def test_of_experts_and_heads() -> None:
    each = [ordinary("q4_k", (256, 256), seed) for seed in range(3)]
    w, ids = mx.array(np.stack([t.dequantize() for t in each])), mx.array([[2, 1], [0, 0], [1, 2]])
    switch, heads = PackedSwitchLinear(each, mx.float32), PackedMultiLinear(each, mx.float32)
    spread = mx.broadcast_to
    close(lambda v: switch(v, ids), lambda v: spread(v, (3, 2, 1, 256)) @ w[ids].swapaxes(-1, -2), draw(3, 1, 1, 256))
    close(lambda v: heads(v, True), lambda v: v @ w.swapaxes(-1, -2), draw(2, 3, 4, 256))
    close(lambda v: heads(v, False), lambda v: v @ w, draw(2, 3, 4, 256))


def test_an_adapter_between_packed_layers_gets_the_gradient_of_the_decoded_model() -> None:
    """The shape of a LoRA step: the base is packed and frozen, the adapter lies before its last layer."""
    first, last = (ordinary("q4_k", (256, 256), seed) for seed in range(2))
    one, two = PackedLinear([first], mx.float32), PackedLinear([last], mx.float32)
    a, b = (mx.array(t.dequantize()) for t in (first, last))
    x, low = draw(3, 256) / 256, draw(256, 4) / 16

    def loss(low: mx.array, packed: bool) -> mx.array:
        hidden = one(x) if packed else x @ a.T
        hidden = nn.silu(hidden + (x @ low) @ low.T)
        return mx.square(two(hidden) if packed else hidden @ b.T).mean()

    got, want = (np.array(mx.grad(loss)(low, packed)) for packed in (True, False))
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max() and np.abs(want).max() > 0


def test_without_training_a_derivative_is_refused_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLX has none of a custom kernel and says so: MLX's own factory is called, which tracing allows without a GPU."""
    layer = PackedLinear([ordinary("q4_k", (32, 256))], mx.float32)
    layer.eval()
    monkeypatch.setattr(own, "factory", lambda: mx.fast.metal_kernel)
    refused: list[str] = []

    def step(x: mx.array) -> mx.array:
        try:
            return mx.grad(lambda v: layer(v).sum())(x)
        except ValueError as error:
            refused.append(str(error))
            return x

    mx.export_function(lambda event: None, step, draw(2, 256))
    assert len(refused) == 1 and "vjp" in refused[0], refused
