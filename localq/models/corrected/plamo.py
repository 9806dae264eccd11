"""PLaMo 13B in GGUF's order of query heads, neighbours sharing a key (see checkpoints/architectures/plamo.py).

mlx-lm repeats the keys for the published order, in which every fifth query shares one; that stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import plamo
    from mlx_lm.models.base import scaled_dot_product_attention

    @dataclass
    class ModelArgs(plamo.ModelArgs):
        grouped_heads: bool = False

    class Grouped(plamo.Attention):
        def __call__(self, hidden_states: mx.array, attention_mask: Any = None, cache: Any = None) -> mx.array:
            batch, tokens, _ = hidden_states.shape

            def heads(x: mx.array, count: int) -> mx.array:
                return x.reshape(batch, tokens, count, -1).transpose(0, 2, 1, 3)

            q = heads(self.q_proj(hidden_states), self.q_num_heads)
            k = heads(self.k_proj(hidden_states), self.k_num_heads)
            v = heads(self.v_proj(hidden_states), self.v_num_heads)
            offset = 0 if cache is None else cache.offset
            q, k = self.rotary_emb(q, offset=offset), self.rotary_emb(k, offset=offset)
            if cache is not None:
                k, v = cache.update_and_fetch(k, v)
            y = scaled_dot_product_attention(q, k, v, cache=cache, scale=self.scale, mask=attention_mask)
            out: mx.array = self.o_proj(y.transpose(0, 2, 1, 3).reshape(batch, tokens, -1))
            return out

    class Model(plamo.Model):
        def __init__(self, args: ModelArgs) -> None:
            super().__init__(args)
            if args.grouped_heads:
                for layer in self.layers:
                    layer.self_attn = Grouped(args)

    return Model, ModelArgs
