"""DeepSeek V3.2: the indexer's layer norm has an epsilon of 1e-6 (DeepSeek's inference code); mlx-lm's has 1e-5."""

from __future__ import annotations

from typing import Any


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import deepseek_v32

    class Model(deepseek_v32.Model):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            for layer in self.layers:
                layer.self_attn.indexer.k_norm.eps = 1e-6

    return Model, deepseek_v32.ModelArgs
