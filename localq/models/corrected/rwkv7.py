"""RWKV 7 as flash-linear-attention publishes it: sizes left out, the six mixes in one tensor, a first layer's dummies.

mlx-lm wants every size in the config, one tensor per mix, and no value mix in the first layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

_MIXES = "rwkvag"
# size -> exponent and factor of the rule for a rank left out (fla/layers/rwkv7.py; conversion/rwkv.py)
_RANKS = {
    "decay_low_rank_dim": (0.5, 1.8),
    "a_low_rank_dim": (0.5, 1.8),
    "v_low_rank_dim": (0.5, 1.3),
    "gate_low_rank_dim": (0.8, 0.6),
}


def _sizes(params: Mapping[str, Any]) -> dict[str, Any]:
    hidden, found = params["hidden_size"], dict(params)
    for name, (exponent, factor) in _RANKS.items():
        if found.get(name) is None:
            found[name] = max(1, round(hidden**exponent * factor / 32)) * 32
    if found.get("intermediate_size") is None:
        found["intermediate_size"] = int(hidden * (params.get("hidden_ratio") or 4))
    return found


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import rwkv7

    @dataclass
    class ModelArgs(rwkv7.ModelArgs):
        @classmethod
        def from_dict(cls, params: Mapping[str, Any]) -> Any:
            return super().from_dict(_sizes(params))  # type: ignore[no-untyped-call]

    class Model(rwkv7.Model):
        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            found: dict[str, mx.array] = super().sanitize(weights)  # type: ignore[no-untyped-call]
            for name in [n for n in found if n.endswith(".attn.x_x")]:
                rows = found.pop(name).reshape(len(_MIXES), 1, 1, -1)
                found.update((f"{name[:-1]}{letter}", row) for letter, row in zip(_MIXES, rows, strict=True))
            return {name: w for name, w in found.items() if not name.startswith("model.layers.0.attn.v_lora.")}

    return Model, ModelArgs
