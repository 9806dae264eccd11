"""StarCoder 2: its GELU is the one approximated by a tanh (`gelu_pytorch_tanh`); mlx-lm computes the exact one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.nn.layers.activations import gelu_approx


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs; a config that names the exact GELU gets it."""
    from mlx_lm.models import starcoder2

    @dataclass
    class ModelArgs(starcoder2.ModelArgs):
        hidden_act: str = "gelu_pytorch_tanh"

    class MLP(starcoder2.MLP):
        def __call__(self, x: mx.array) -> mx.array:
            out: mx.array = self.c_proj(gelu_approx(self.c_fc(x)))
            return out

    mlp: Any = MLP

    class Model(starcoder2.Model):
        def __init__(self, args: ModelArgs) -> None:
            super().__init__(args)
            if args.hidden_act != "gelu":
                for layer in self.layers:
                    layer.mlp = mlp(args.hidden_size, args.intermediate_size)

    return Model, ModelArgs
