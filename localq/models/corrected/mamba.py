"""Mamba and Falcon Mamba: norms with the config's epsilon, which mlx-lm drops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import mamba

    @dataclass
    class ModelArgs(mamba.ModelArgs):
        layer_norm_epsilon: float = 1e-5

    class Model(mamba.Model):
        def __init__(self, args: ModelArgs) -> None:
            super().__init__(args)
            for norm in (*(layer.norm for layer in self.layers), self.backbone.norm_f):
                norm.eps = args.layer_norm_epsilon

    return Model, ModelArgs
