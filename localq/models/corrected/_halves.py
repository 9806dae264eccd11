"""`kv_b_proj` as the two halves a GGUF file holds, for architectures that multiply by the whole.

llama.cpp stores `embed_q` `[heads, rank, nope]` and `unembed_out` `[heads, v, rank]`; packed, they do not join into
one matrix (checkpoints/architectures/_mla.py). The product is the same: per head, keys then values.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module


def split_up_projections(model: Any, args: Any) -> None:
    """Put the halves in the place of every layer's `kv_b_proj`."""
    from mlx_lm.models.mla import MultiLinear

    class Halves(Module):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]  # mlx leaves its base class untyped
            heads, rank = args.num_attention_heads, args.kv_lora_rank
            self.embed_q = MultiLinear(args.qk_nope_head_dim, rank, heads)
            self.unembed_out = MultiLinear(rank, args.v_head_dim, heads)

        def __call__(self, latent: mx.array) -> mx.array:
            """`[batch, tokens, rank] -> [batch, tokens, heads * (nope + v)]`."""
            shared = mx.expand_dims(latent, 1)
            both = [self.embed_q(shared, transpose=False), self.unembed_out(shared)]
            return mx.concatenate(both, axis=-1).swapaxes(1, 2).flatten(2)

    for layer in model.layers:
        layer.self_attn.kv_b_proj = Halves()


def renamed(weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """The halves under the names they have inside `kv_b_proj`."""
    halves = (".self_attn.embed_q.", ".self_attn.unembed_out.")
    out = {}
    for name, w in weights.items():
        for half in halves:
            name = name.replace(half, half.replace(".self_attn.", ".self_attn.kv_b_proj."))
        out[name] = w
    return out
