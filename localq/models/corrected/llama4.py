"""Llama 4: queries and keys are normalised with the model's own epsilon; 16-bit experts lie transposed.

mlx-lm has 1e-6 built in where the models say 1e-5.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import llama4
    from mlx_lm.models.base import scaled_dot_product_attention

    class Attention(llama4.Attention):
        def __init__(self, args: Any, layer_idx: int) -> None:
            super().__init__(args, layer_idx)
            self.norm_eps = args.rms_norm_eps

        def __call__(self, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
            batch, tokens, _ = x.shape
            offset = cache.offset if cache is not None else 0
            q, k, v = (
                projected.reshape(batch, tokens, heads, -1).transpose(0, 2, 1, 3)
                for projected, heads in (
                    (self.q_proj(x), self.n_heads),
                    (self.k_proj(x), self.n_kv_heads),
                    (self.v_proj(x), self.n_kv_heads),
                )
            )
            if self.use_rope:
                q, k = self.rope(q, offset=offset), self.rope(k, offset=offset)
            elif self.attn_temperature_tuning:
                q = self._tempered(q, offset, tokens)
            if self.use_qk_norm:
                q, k = (mx.fast.rms_norm(one, None, self.norm_eps) for one in (q, k))
            if cache is not None:
                k, v = cache.update_and_fetch(k, v)
            out = scaled_dot_product_attention(q, k, v, cache=cache, scale=self.scale, mask=mask)
            done: mx.array = self.o_proj(out.transpose(0, 2, 1, 3).reshape(batch, tokens, -1))
            return done

        def _tempered(self, q: mx.array, offset: int, tokens: int) -> mx.array:
            """Scores of far positions are sharpened in the layers without rope."""
            positions = mx.arange(offset + 1, offset + tokens + 1)
            scale = mx.log(mx.floor(positions / self.floor_scale) + 1.0) * self.attn_scale + 1.0
            return (q * scale[:, None]).astype(q.dtype)

    class Model(llama4.Model):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            for i, layer in enumerate(self.layers):
                layer.self_attn = Attention(args.text_config, i)

    return Model, llama4.ModelArgs
