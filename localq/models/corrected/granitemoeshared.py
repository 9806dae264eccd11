"""Granite MoE with a shared MLP, which mlx-lm has as a hybrid only: here one without a single state-space layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import granitemoehybrid

    @dataclass
    class ModelArgs(granitemoehybrid.ModelArgs):
        @classmethod
        def from_dict(cls, params: Mapping[str, Any]) -> Any:
            layers = ["attention"] * params["num_hidden_layers"]
            full = {"attention_bias": False, **params, "layer_types": layers, "position_embedding_type": "rope"}
            return super().from_dict(full)  # type: ignore[no-untyped-call]

    return granitemoehybrid.Model, ModelArgs
