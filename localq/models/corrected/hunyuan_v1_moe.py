"""Hunyuan A13B, which mlx-lm knows only by the type of its predecessor.

The weights of the chosen experts add up to one; mlx-lm's `hunyuan` leaves them as they are, which is right for one
expert per token only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from localq.errors import UnsupportedError

_BUILT_IN = {"use_cla": False, "cla_share_factor": 2, "use_mixed_mlp_moe": True, "use_qk_norm": True}


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import hunyuan

    @dataclass
    class ModelArgs(hunyuan.ModelArgs):
        @classmethod
        def from_dict(cls, params: Mapping[str, Any]) -> Any:
            scaling = params.get("rope_scaling") or params.get("rope_parameters") or {}
            full = {
                **_BUILT_IN,
                "attention_bias": False,
                **params,
                "rope_theta": params.get("rope_theta", scaling.get("rope_theta", 10000.0)),
                "rope_scaling": {"type": "dynamic", "factor": 1.0, "alpha": scaling.get("alpha") or 1.0},
            }
            if params.get("tie_word_embeddings") is False:
                raise UnsupportedError("The config unties the head; hunyuan_v1_moe is computed with a tied one.")
            return super().from_dict(full)  # type: ignore[no-untyped-call]

    class Experts(hunyuan.MoeBlock):
        def __call__(self, x: mx.array) -> mx.array:
            gates = mx.softmax(self.gate(x), axis=-1, precise=True)
            chosen = mx.argpartition(-gates, kth=self.top_k - 1, axis=-1)[..., : self.top_k]
            scores = mx.take_along_axis(gates, chosen, axis=-1).astype(mx.float32)
            scores = scores / scores.sum(axis=-1, keepdims=True)
            y = self.switch_mlp(x, chosen)
            y = (y * scores[..., None]).sum(axis=-2).astype(y.dtype)
            return y + self.shared_mlp(x) if self.use_shared_mlp else y

    class Model(hunyuan.Model):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            for i, layer in enumerate(self.layers):
                layer.mlp = Experts(args, i)

        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            out: dict[str, mx.array] = super().sanitize(weights)  # type: ignore[no-untyped-call]
            out.pop("lm_head.weight", None)  # the embedding again
            return out

    return Model, ModelArgs
