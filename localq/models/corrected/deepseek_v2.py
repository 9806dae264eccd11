"""DeepSeek V2: without rope scaling too, and with `kv_b_proj` in two halves where a GGUF file packs them apart.

mlx-lm takes `rope_scaling` for given; YaRN by a factor of one is no scaling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from localq.models.corrected._halves import renamed, split_up_projections


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import deepseek_v2

    @dataclass
    class ModelArgs(deepseek_v2.ModelArgs):
        kv_b_split: bool = False

        def __post_init__(self) -> None:
            self.rope_scaling = self.rope_scaling or {"factor": 1.0}

    class Model(deepseek_v2.Model):
        def __init__(self, args: ModelArgs) -> None:
            super().__init__(args)
            if args.kv_b_split:
                split_up_projections(self, args)

        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            out: dict[str, mx.array] = super().sanitize(weights)  # type: ignore[no-untyped-call]
            return renamed(out)

    return Model, ModelArgs
