"""GLM-5: all norms of the attention take the config's epsilon (1e-5), the indexer's 1e-6; mlx-lm has DeepSeek's."""

from __future__ import annotations

from typing import Any


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import glm_moe_dsa

    class Model(glm_moe_dsa.Model):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            for layer in self.layers:
                layer.self_attn.indexer.k_norm.eps = 1e-6
                for norm in (layer.self_attn.q_a_layernorm, layer.self_attn.kv_a_layernorm):
                    norm.eps = args.rms_norm_eps

    return Model, glm_moe_dsa.ModelArgs
