"""InternLM 2: queries, keys and values as three matrices, as GGUF has them, of formats of their own.

Hugging Face's `wqkv` interleaves them by head group; its rows are dealt out while loading.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.nn.layers.linear import Linear


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import internlm2
    from mlx_lm.models.base import scaled_dot_product_attention

    class Attention(internlm2.Attention):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            del self.wqkv
            queries, keys = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
            self.wq = Linear(args.hidden_size, queries, bias=args.bias)
            self.wk = Linear(args.hidden_size, keys, bias=args.bias)
            self.wv = Linear(args.hidden_size, keys, bias=args.bias)

        def __call__(self, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
            batch, tokens, _ = x.shape
            q, k, v = (
                linear(x).reshape(batch, tokens, -1, self.head_dim).transpose(0, 2, 1, 3)
                for linear in (self.wq, self.wk, self.wv)
            )
            offset = cache.offset if cache is not None else 0
            q, k = self.rope(q, offset=offset), self.rope(k, offset=offset)
            if cache is not None:
                k, v = cache.update_and_fetch(k, v)
            out = scaled_dot_product_attention(q, k, v, cache=cache, scale=self.scale, mask=mask)
            done: mx.array = self.wo(out.transpose(0, 2, 1, 3).reshape(batch, tokens, -1))
            return done

    class Model(internlm2.Model):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            for layer in self.layers:
                layer.attention = Attention(args)

        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            out: dict[str, mx.array] = super().sanitize(weights)  # type: ignore[no-untyped-call]
            for name in [name for name in out if ".attention.wqkv." in name]:
                for part, rows in zip("qkv", _apart(out.pop(name), self.args), strict=True):
                    out[name.replace("wqkv", f"w{part}")] = rows
            return out

    return Model, internlm2.ModelArgs


def _apart(wqkv: mx.array, args: Any) -> list[mx.array]:
    """Rows `[groups, queries per group + 2, head]` as those of queries, keys and values."""
    groups = args.num_key_value_heads
    width = args.hidden_size // args.num_attention_heads
    rest = wqkv.shape[1:]
    grouped = wqkv.reshape(groups, -1, width, *rest)
    return [part.reshape(-1, *rest) for part in (grouped[:, :-2], grouped[:, -2], grouped[:, -1])]
