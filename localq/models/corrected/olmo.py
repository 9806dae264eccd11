"""OLMo 1 as transformers publishes it. mlx-lm's `olmo` reads the files of Allen AI's own package, and imports that.

It is Llama with layer norms that have no weights, and queries, keys and values clipped (transformers'
models/olmo/modeling_olmo.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.linear import Linear
from mlx.nn.layers.normalization import LayerNorm

from localq.errors import UnsupportedError


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import llama

    @dataclass
    class ModelArgs(llama.ModelArgs):
        clip_qkv: float | None = None

        @classmethod
        def from_dict(cls, params: Mapping[str, Any]) -> Any:
            if "d_model" in params:
                raise UnsupportedError(
                    "This OLMo folder is in the format of Allen AI's own package (ai2-olmo); localq does not read it.",
                    "Take the repository whose name ends in -hf: the same weights in transformers' format.",
                )
            return super().from_dict({"rms_norm_eps": 1e-5, "tie_word_embeddings": False, **params})  # type: ignore[no-untyped-call]

    class Clipped(Module):
        """A linear layer whose outputs are cut off at plus and minus `limit`."""

        def __init__(self, inner: Linear, limit: float) -> None:
            super().__init__()  # type: ignore[no-untyped-call]  # mlx leaves its base class untyped
            self.inner, self.limit = inner, limit

        def __call__(self, x: mx.array) -> mx.array:
            return mx.clip(self.inner(x), -self.limit, self.limit)

    def norm(args: ModelArgs) -> LayerNorm:
        return LayerNorm(args.hidden_size, eps=1e-5, affine=False)

    class Model(llama.Model):
        args: Any

        def __init__(self, args: Any) -> None:
            super().__init__(args)
            self.model.norm = norm(args)
            for layer in self.layers:
                layer.input_layernorm, layer.post_attention_layernorm = norm(args), norm(args)
                if args.clip_qkv:
                    for name in ("q_proj", "k_proj", "v_proj"):
                        setattr(layer.self_attn, name, Clipped(layer.self_attn[name], args.clip_qkv))

        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            """Clipped projections are one level deeper."""
            found: dict[str, mx.array] = super().sanitize(weights)  # type: ignore[no-untyped-call]
            if not self.args.clip_qkv:
                return found
            for old in [n for n in found if n.split(".")[-2] in ("q_proj", "k_proj", "v_proj")]:
                stem, _, kind = old.rpartition(".")
                found[f"{stem}.inner.{kind}"] = found.pop(old)
            return found

    return Model, ModelArgs
