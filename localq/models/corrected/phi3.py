"""Phi-3 and Phi-4: LongRoPE has two lists of frequency factors, for texts within the original context and beyond it.

mlx-lm always takes the long list. Here the context a model is opened with decides, once, as in llama.cpp and vLLM:
keys already in a cache keep fitting, and a model opened with `--context 4096` computes what its authors trained first.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs; `Model.fit_context` picks the list."""
    from mlx_lm.models import phi3
    from mlx_lm.models.rope_utils import SuScaledRoPE

    class Model(phi3.Model):
        def fit_context(self, context: int) -> None:
            """Take the factors for conversations of up to `context` tokens."""
            scaling = self.args.rope_scaling or {}
            if "short_factor" not in scaling:
                return
            beyond = context > self.args.original_max_position_embeddings
            factors = mx.array(scaling["long_factor" if beyond else "short_factor"], mx.float32)
            for layer in self.layers:
                rope = layer.self_attn.rope
                if isinstance(rope, SuScaledRoPE):
                    plain = self.args.rope_theta ** (mx.arange(0, rope.dim, 2, dtype=mx.float32) / rope.dim)
                    rope._freqs = factors * plain

    return Model, phi3.ModelArgs
