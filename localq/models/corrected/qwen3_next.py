"""Qwen3-Next with the projections of its delta nets in two matrices, as a GGUF file packs them.

mlx-lm multiplies by one matrix whose rows are interleaved by key head; parts packed in different formats do not
interleave. Files that have the one matrix run on mlx-lm's own class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.nn.layers.linear import Linear


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import qwen3_next

    @dataclass
    class ModelArgs(qwen3_next.ModelArgs):
        linear_projections_apart: bool = False

    class Apart(qwen3_next.Qwen3NextGatedDeltaNet):
        """Queries, keys and values from `in_proj_qkv`, gates from `in_proj_z`."""

        def __init__(self, config: ModelArgs) -> None:
            super().__init__(config)
            self.in_proj_qkv = Linear(self.hidden_size, 2 * self.key_dim + self.value_dim, bias=False)
            self.in_proj_z = Linear(self.hidden_size, self.value_dim, bias=False)
            del self.in_proj_qkvz
            self.in_proj_qkvz = lambda x: (self.in_proj_qkv(x), self.in_proj_z(x))

        def fix_query_key_value_ordering(self, mixed_qkvz: Any, mixed_ba: mx.array) -> Any:
            """Queries and keys `[batch, tokens, key heads, width]`, values and gates by value head, b and a."""
            qkv, z = mixed_qkvz
            nk, nv = self.num_k_heads, self.num_v_heads
            q, k, v = mx.split(qkv, [self.key_dim, 2 * self.key_dim], axis=-1)
            b, a = mx.split(mixed_ba.reshape(*mixed_ba.shape[:-1], nk, -1), [nv // nk], axis=-1)
            batch = qkv.shape[:2]
            return (
                q.reshape(*batch, nk, -1),
                k.reshape(*batch, nk, -1),
                v.reshape(*batch, nv, -1),
                z.reshape(*batch, nv, -1),
                b.reshape(*batch, nv),
                a.reshape(*batch, nv),
            )

    class Model(qwen3_next.Model):
        def __init__(self, args: ModelArgs) -> None:
            super().__init__(args)
            for layer in self.layers if args.linear_projections_apart else ():
                if layer.is_linear:
                    layer.linear_attn = Apart(args)

    return Model, ModelArgs
