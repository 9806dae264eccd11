"""Gemma 2: every other layer, the first included, sees only the last `sliding_window` positions.

mlx-lm gives all layers the full causal mask, which is another model as soon as a text is longer than the window.
A scaled rope, which it drops, is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from localq.models.corrected._scaled import scale_ropes


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs with the windows."""
    from mlx_lm.models import gemma2
    from mlx_lm.models.base import create_attention_mask

    @dataclass
    class ModelArgs(gemma2.ModelArgs):
        sliding_window: int | None = None
        layer_types: list[str] | None = None
        rope_scaling: dict[str, Any] | None = None
        max_position_embeddings: int | None = None

    class WindowedGemma(gemma2.GemmaModel):
        args: ModelArgs

        def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
            h = self.embed_tokens(inputs) * self.args.hidden_size**0.5
            caches = cache or [None] * len(self.layers)
            full = create_attention_mask(h, caches[0], return_array=True)
            window = self.args.sliding_window
            near = create_attention_mask(h, caches[0], window_size=window, return_array=True) if window else full
            for layer, own, slides in zip(self.layers, caches, _sliding(self.args), strict=True):
                h = layer(h, near if slides else full, own)
            out: mx.array = self.norm(h)
            return out

    class Model(gemma2.Model):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            self.model = WindowedGemma(args)
            scale_ropes(self.layers, args)

    return Model, ModelArgs


def _sliding(args: Any) -> list[bool]:
    if args.layer_types:
        return [kind == "sliding_attention" for kind in args.layer_types]
    return [i % 2 == 0 for i in range(args.num_hidden_layers)]
