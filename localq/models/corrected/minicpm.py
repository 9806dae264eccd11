"""MiniCPM: logits are scaled also where the head is the embedding, and LongRoPE has two lists (see phi3.py).

mlx-lm leaves the scale out of tied models and takes the long list always.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from localq.models.corrected._longrope import pick_factors


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import minicpm

    return scaled_head(minicpm.Model), minicpm.ModelArgs


def scaled_head(base: Any) -> Any:
    """A Model whose head is always a matrix of its own, the embedding's rows where a checkpoint has no other."""

    class Model(base):  # type: ignore[misc]  # the base is mlx-lm's, known at run time only
        def __init__(self, args: Any) -> None:
            args.tie_word_embeddings = False
            super().__init__(args)

        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            return {"lm_head.weight": weights["model.embed_tokens.weight"], **weights}

        def fit_context(self, context: int) -> None:
            """Take the factors for conversations of up to `context` tokens."""
            scaling = self.args.rope_scaling or {}
            if "short_factor" in scaling:
                original = scaling.get("original_max_position_embeddings", 4096)
                ropes = [layer.self_attn.rope for layer in self.layers]
                pick_factors(ropes, scaling, self.args.rope_theta, context > original)

    return Model
