"""MiniMax M2 goes by this name in mlx-lm; the models before it (Text-01, M1) had it in transformers and are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localq.errors import UnsupportedError


def _lightning(params: Mapping[str, Any]) -> bool:
    """Whether some layers have linear attention: as transformers says it, and as the models' own configs do."""
    kinds = params.get("layer_types") or []
    return (
        "linear_attn_alpha_factor" in params or 0 in (params.get("attn_type_list") or []) or "linear_attention" in kinds
    )


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import minimax

    @dataclass
    class ModelArgs(minimax.ModelArgs):
        @classmethod
        def from_dict(cls, params: Mapping[str, Any]) -> Any:
            if _lightning(params):
                raise UnsupportedError(
                    "The config is MiniMax-01's or M1's: mlx-lm has no lightning attention, its minimax is M2."
                )
            return super().from_dict(params)  # type: ignore[no-untyped-call]

    return minimax.Model, ModelArgs
