"""Phi-3.5-MoE: LongRoPE's list of factors as the context asks for (see phi3.py); mlx-lm always takes the long one."""

from __future__ import annotations

from typing import Any

from localq.models.corrected._longrope import pick_factors


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs; `Model.fit_context` picks the list."""
    from mlx_lm.models import phimoe

    class Model(phimoe.Model):
        def fit_context(self, context: int) -> None:
            """Take the factors for conversations of up to `context` tokens."""
            scaling = self.args.rope_scaling
            if scaling:
                ropes = (layer.self_attn.rope for layer in self.layers)
                beyond = context > self.args.original_max_position_embeddings
                pick_factors(ropes, dict(scaling), self.args.rope_theta, beyond)

    return Model, phimoe.ModelArgs
