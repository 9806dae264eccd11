"""Youtu-LLM: `kv_b_proj` in two halves where a GGUF file packs them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from localq.models.corrected._halves import renamed, split_up_projections


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import youtu_llm

    @dataclass
    class ModelArgs(youtu_llm.ModelArgs):
        kv_b_split: bool = False

    class Model(youtu_llm.Model):
        def __init__(self, args: ModelArgs) -> None:
            super().__init__(args)
            if args.kv_b_split:
                split_up_projections(self, args)

        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            out: dict[str, mx.array] = super().sanitize(weights)  # type: ignore[no-untyped-call]
            return renamed(out)

    return Model, ModelArgs
