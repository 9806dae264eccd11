"""ERNIE 4.5 with experts: they are chosen by probability plus a correction bias, which mlx-lm drops.

The weights of the chosen ones are the probabilities themselves (`moe_use_aux_free` of the models' configs).
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module

_BIAS = ".mlp.moe_statics.e_score_correction_bias"


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import ernie4_5_moe

    class Statics(Module):
        def __init__(self, experts: int) -> None:
            super().__init__()  # type: ignore[no-untyped-call]  # mlx leaves its base class untyped
            self.e_score_correction_bias = mx.zeros((1, experts))

    class Experts(ernie4_5_moe.Ernie4_5_MoeMLP):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            if args.moe_use_aux_free:
                self.moe_statics = Statics(args.moe_num_experts)

        def __call__(self, x: mx.array) -> mx.array:
            gates = self.gate_act(self.gate(x).astype(mx.float32))
            ranked = gates + self.moe_statics.e_score_correction_bias[0] if "moe_statics" in self else gates
            chosen = mx.argpartition(-ranked, kth=self.k - 1, axis=-1)[..., : self.k]
            scores = mx.take_along_axis(gates, chosen, axis=-1)
            scores = scores / mx.maximum(scores.sum(axis=-1, keepdims=True), 1e-12)
            y = self.switch_mlp(x, chosen)
            y = (y * scores[..., None]).sum(axis=-2).astype(y.dtype)
            return y if self.shared_experts is None else y + self.shared_experts(x)

    class Model(ernie4_5_moe.Model):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            for layer in self.layers:
                if isinstance(layer.mlp, ernie4_5_moe.Ernie4_5_MoeMLP):
                    layer.mlp = Experts(args)

        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            kept = {name: w for name, w in weights.items() if name.endswith(_BIAS) and ".mtp_" not in name}
            out: dict[str, mx.array] = super().sanitize(weights)  # type: ignore[no-untyped-call]
            return {**out, **kept}

    return Model, ernie4_5_moe.ModelArgs
