"""Mistral 7B v0.1 and others with a sliding window: every layer sees only the last `sliding_window` positions.

mlx-lm runs Mistral as Llama, whose window it takes for layers of a kind these configs do not name.
"""

from __future__ import annotations

from typing import Any


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs; without a window, mlx-lm's Llama."""
    from mlx_lm.models import llama

    class Model(llama.Model):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            if args.sliding_window and "sliding_attention" not in args.layer_types:
                self.model.swa_idx = 0
                for layer in self.layers:
                    layer.use_sliding = True

    return Model, llama.ModelArgs
