"""BitNet b1.58 on ordinary layers, which hold ternary weights of any format, and with the activation of the config.

mlx-lm's are a Metal kernel for one packing; its MLP squares a ReLU always, which is microsoft/bitnet-b1.58-2B-4T's
(`hidden_act` "relu2"); the models before it have SiLU. Activations are not rounded to 8 bits here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.nn.layers.activations import relu2, silu
from mlx.nn.layers.linear import Linear
from mlx.utils import tree_unflatten

_ACTIVATIONS = {"relu2": relu2, "silu": silu}


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import bitnet
    from mlx_lm.models.bitlinear_layers import BitLinear

    @dataclass
    class ModelArgs(bitnet.ModelArgs):
        hidden_act: str = "relu2"

        def __post_init__(self) -> None:
            if self.hidden_act not in _ACTIVATIONS:
                raise ValueError(f"hidden_act is {self.hidden_act!r}; localq knows {sorted(_ACTIVATIONS)} in BitNet")

    class MLP(bitnet.MLP):
        def __init__(self, args: ModelArgs) -> None:
            super().__init__(args)
            self._act = _ACTIVATIONS[args.hidden_act]

        def __call__(self, x: mx.array) -> mx.array:
            gated = self._act(self.gate_proj(x)) * self.up_proj(x)
            out: mx.array = self.down_proj(self.ffn_sub_norm(gated))
            return out

    class Model(bitnet.Model):
        def __init__(self, args: ModelArgs) -> None:
            super().__init__(args)
            for layer in self.layers:
                layer.mlp = MLP(args)
            bits = [(path, m) for path, m in self.named_modules() if isinstance(m, BitLinear)]
            self.update_modules(tree_unflatten([(path, _plain(m)) for path, m in bits]))

    return Model, ModelArgs


def _plain(layer: Any) -> Linear:
    return Linear(layer.in_features, layer.out_features, bias="bias" in layer)
