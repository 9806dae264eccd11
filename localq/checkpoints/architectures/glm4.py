"""GLM-4 0414 and Z1: norms before and after both halves of a layer, half of each head rotated, gate and up fused."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    NORMS,
    OUTER,
    biases,
    decoder,
    has_biases,
    rotated_share,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_QKV = {name: ATTENTION[name] for name in ATTENTION if "attn_output" not in name}


def _config(keys: ModelKeys) -> dict[str, Any]:
    return {
        **decoder(keys, scalings=("linear", "yarn"), partial_rope=True),
        "attention_bias": has_biases(keys, "attn_q", "attn_k", "attn_v"),
        "partial_rotary_factor": rotated_share(keys),
    }


ARCHITECTURE = Architecture(
    model_type="glm4",
    names={
        **OUTER,
        "output.weight": "lm_head.weight",
        **NORMS,
        "blk.{i}.post_attention_norm.weight": LAYER + "post_self_attn_layernorm.weight",
        "blk.{i}.post_ffw_norm.weight": LAYER + "post_mlp_layernorm.weight",
        **ATTENTION,
        **biases(_QKV, optional=True),
        "blk.{i}.ffn_up.weight": LAYER + "mlp.gate_up_proj.weight",
        "blk.{i}.ffn_down.weight": LAYER + "mlp.down_proj.weight",
    },
    config=_config,
)
