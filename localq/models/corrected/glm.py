"""GLM-4 of 2024: half of each head is rotated (`partial_rotary_factor`, 0.5); mlx-lm rotates all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx.nn.layers.positional_encoding import RoPE


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import glm

    @dataclass
    class ModelArgs(glm.ModelArgs):
        partial_rotary_factor: float = 0.5

    class Model(glm.Model):
        def __init__(self, args: ModelArgs) -> None:
            super().__init__(args)
            for layer in self.layers:
                rotated = int(layer.self_attn.head_dim * args.partial_rotary_factor)
                layer.self_attn.rope = RoPE(rotated, traditional=True, base=args.rope_theta)

    return Model, ModelArgs
