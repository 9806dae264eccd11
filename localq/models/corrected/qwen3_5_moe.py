"""Qwen3.5 with experts: output projections in llama.cpp's order of columns (see qwen3_5.py)."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from localq.models.corrected.qwen3_5 import tile


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import qwen3_5_moe

    class Model(qwen3_5_moe.Model):
        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            tile(self, weights)
            out: dict[str, mx.array] = super().sanitize(weights)  # type: ignore[no-untyped-call]
            return out

    return Model, qwen3_5_moe.ModelArgs
