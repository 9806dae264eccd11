"""Kimi K3 in GGUF's form: the residuals' norms are multiplied into their projections and have no weights left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx


class _Ones:
    """In the place of a norm whose weights are all one; only the weights are looked at."""

    def __init__(self, width: int) -> None:
        self.weight = mx.ones((width,))


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from dataclasses import dataclass

    from mlx_lm.models import kimi_k3

    @dataclass
    class ModelArgs(kimi_k3.ModelArgs):
        norms_in_projections: bool = False

        @classmethod
        def from_dict(cls, params: Mapping[str, Any]) -> Any:
            text = params.get("text_config", params)
            made = super().from_dict(params)  # type: ignore[no-untyped-call]
            made.norms_in_projections = bool(text.get("norms_in_projections", False))
            return made

    class Model(kimi_k3.Model):
        def __init__(self, args: ModelArgs) -> None:
            super().__init__(args)
            text: Any = args.text_config
            if args.norms_in_projections and text.attn_res_block_size is not None:
                self.model.output_attn_res_norm = _Ones(text.hidden_size)
                for layer in self.layers:
                    layer.self_attention_res_norm = layer.mlp_res_norm = _Ones(text.hidden_size)

    return Model, ModelArgs
