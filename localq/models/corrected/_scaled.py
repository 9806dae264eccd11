"""Rope scaling for architectures whose attention builds a plain `nn.RoPE` and drops what the config says."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from mlx.nn.layers.positional_encoding import RoPE


def with_scaling(base: Any) -> tuple[Any, Any]:
    """Model and ModelArgs of an mlx-lm module, its ropes scaled as the config's `rope_scaling` says.

    The keys the module's own ModelArgs lacks are added with None as default.
    """
    known = {field.name for field in fields(base.ModelArgs)}

    @dataclass
    class Args(base.ModelArgs):  # type: ignore[misc]  # the base is mlx-lm's, known at run time only
        if "rope_scaling" not in known:
            rope_scaling: dict[str, Any] | None = None
        if "max_position_embeddings" not in known:
            max_position_embeddings: int | None = None

    class Model(base.Model):  # type: ignore[misc]
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            scale_ropes(self.layers, args)

    return Model, Args


def scale_ropes(layers: Any, args: Any) -> None:
    """Plain ropes of these layers replaced by what `args.rope_scaling` asks for, if anything."""
    from mlx_lm.models.rope_utils import initialize_rope

    for layer in layers if args.rope_scaling else ():
        rope = layer.self_attn.rope
        assert type(rope) is RoPE, f"{type(rope)} may already scale"
        layer.self_attn.rope = initialize_rope(
            rope.dims, rope.base, rope.traditional, args.rope_scaling, args.max_position_embeddings
        )
