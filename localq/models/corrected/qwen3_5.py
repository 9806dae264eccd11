"""Qwen3.5 whose output projections keep the columns in llama.cpp's order (see architectures/_delta_net.py).

llama.cpp counts value heads with the key head running fastest; where a packed block spans two heads, the columns of
`out_proj` cannot change places, so the activations do.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.linear import Linear


class Tiled(Module):
    """`x [..., value heads * width]`, heads of one key head together -> `tiled(x with key heads running fastest)`."""

    def __init__(self, linear: Linear, key_heads: int, a_key: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # mlx leaves its base class untyped
        self.tiled = linear
        self._heads = (key_heads, a_key)

    def __call__(self, x: mx.array) -> mx.array:
        by_head = x.reshape(*x.shape[:-1], *self._heads, -1)
        out: mx.array = self.tiled(by_head.swapaxes(-3, -2).reshape(x.shape))
        return out


def tile(model: Any, weights: dict[str, mx.array]) -> None:
    """Put `Tiled` in the place of every `out_proj` that the weights have in that order."""
    for i, layer in enumerate(model.layers):
        if layer.is_linear and any(name.endswith(f"layers.{i}.linear_attn.out_proj.tiled.weight") for name in weights):
            net = layer.linear_attn
            net.out_proj = Tiled(net.out_proj, net.num_k_heads, net.num_v_heads // net.num_k_heads)


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import qwen3_5

    class Model(qwen3_5.Model):
        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            tile(self, weights)
            out: dict[str, mx.array] = super().sanitize(weights)  # type: ignore[no-untyped-call]
            return out

    return Model, qwen3_5.ModelArgs
