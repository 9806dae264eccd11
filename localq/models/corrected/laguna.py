"""Laguna with a gate per channel (M.1, `gating` "per-element"); mlx-lm has one per head only."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.nn.layers.activations import softplus
from mlx.nn.layers.linear import Linear


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import laguna
    from mlx_lm.models.base import scaled_dot_product_attention

    class Attention(laguna.Attention):
        def __init__(self, args: Any, layer_idx: int) -> None:
            super().__init__(args, layer_idx)
            self.g_proj = Linear(args.hidden_size, self.n_heads * self.head_dim, bias=False)

        def __call__(self, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
            batch, tokens, _ = x.shape

            def heads(y: mx.array, count: int) -> mx.array:
                return y.reshape(batch, tokens, count, -1)

            q = self.q_norm(heads(self.q_proj(x), self.n_heads)).swapaxes(1, 2)
            k = self.k_norm(heads(self.k_proj(x), self.n_kv_heads)).swapaxes(1, 2)
            v = heads(self.v_proj(x), self.n_kv_heads).swapaxes(1, 2)
            offset = 0 if cache is None else cache.offset
            q, k = self.rope(q, offset=offset), self.rope(k, offset=offset)
            if cache is not None:
                k, v = cache.update_and_fetch(k, v)
            y = scaled_dot_product_attention(q, k, v, cache=cache, scale=self.scale, mask=mask)
            y = y.swapaxes(1, 2).reshape(batch, tokens, -1)
            gate = softplus(self.g_proj(x).astype(mx.float32)).astype(y.dtype)
            out: mx.array = self.o_proj(y * gate)
            return out

    class Model(laguna.Model):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            if str(args.gating).replace("_", "-") == "per-element":
                for i, layer in enumerate(self.layers):
                    layer.self_attn = Attention(args, i)

    return Model, laguna.ModelArgs
