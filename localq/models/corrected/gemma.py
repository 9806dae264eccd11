"""Gemma: its GELU is the one approximated by a tanh (`gelu_pytorch_tanh`); mlx-lm computes the exact one."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.nn.layers.activations import gelu_approx


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import gemma

    class MLP(gemma.MLP):
        def __call__(self, x: mx.array) -> mx.array:
            out: mx.array = self.down_proj(gelu_approx(self.gate_proj(x)) * self.up_proj(x))
            return out

    class Model(gemma.Model):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            for layer in self.layers:
                layer.mlp = MLP(args.hidden_size, args.intermediate_size)  # type: ignore[no-untyped-call]

    return Model, gemma.ModelArgs
