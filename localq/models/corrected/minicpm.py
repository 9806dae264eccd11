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
    """A Model whose logits are scaled whatever its head is; a tied one is the embedding as it is stored."""

    class Model(base):  # type: ignore[misc]  # the base is mlx-lm's, known at run time only
        def __call__(self, inputs: mx.array, *rest: Any, **named: Any) -> mx.array:
            out = self.model(inputs, *rest, **named) / (self.args.hidden_size / self.args.dim_model_base)
            head = self.model.embed_tokens.as_linear if self.args.tie_word_embeddings else self.lm_head
            logits: mx.array = head(out)
            return logits

        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            """A checkpoint without a head has the embedding for one, whatever its config says."""
            if "lm_head.weight" not in weights and "lm_head" in self:
                self.args.tie_word_embeddings = True
                del self.lm_head
            return {name: w for name, w in weights.items() if name != "lm_head.weight" or "lm_head" in self}

        def fit_context(self, context: int) -> None:
            """Take the factors for conversations of up to `context` tokens."""
            scaling = self.args.rope_scaling or {}
            if "short_factor" in scaling:
                original = scaling.get("original_max_position_embeddings", 4096)
                ropes = [layer.self_attn.rope for layer in self.layers]
                pick_factors(ropes, scaling, self.args.rope_theta, context > original)

    return Model
