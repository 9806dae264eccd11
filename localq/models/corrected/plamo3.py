"""PLaMo 3: a sliding layer sees its window and no token more; mlx-lm's mask of a prompt is one wider than its cache.

Both then see what llama.cpp's and vLLM's see. A scaled rope, which mlx-lm does not compute, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localq.errors import UnsupportedError


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import plamo3

    @dataclass
    class ModelArgs(plamo3.ModelArgs):
        @classmethod
        def from_dict(cls, params: Mapping[str, Any]) -> Any:
            factor = params.get("rope_scaling_factor", 1)
            if factor not in (None, 1):
                raise UnsupportedError(f"The config scales PLaMo 3's rope by {factor}; mlx-lm computes none there.")
            return super().from_dict(params)  # type: ignore[no-untyped-call]

    class Model(plamo3.Model):
        def __init__(self, config: ModelArgs) -> None:
            super().__init__(config)
            self.model.layers.window_size = config.window_size - 1  # its mask adds one

    return Model, ModelArgs
