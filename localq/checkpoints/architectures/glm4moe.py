"""GLM-4.5, 4.6 and 4.7: experts weighed by sigmoids after leading dense layers, part of each head rotated."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    OUTER,
    QK_NORMS,
    biases,
    decoder,
    has_biases,
    rotated_share,
)
from localq.checkpoints.architectures._mla import DENSE, EXPERTS, experts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_QKV = {name: ATTENTION[name] for name in ATTENTION if "attn_output" not in name}


def _config(keys: ModelKeys) -> dict[str, Any]:
    if keys.integer("expert_gating_func", 0) not in (0, 2):  # sigmoid, also where a file does not say
        keys.refuse("expert_gating_func")
    config = decoder(keys, scalings=("linear", "yarn"), partial_rope=True)
    return {
        **config,
        **experts(keys),
        "rope_scaling": config.get("rope_scaling"),
        "attention_bias": has_biases(keys, "attn_q", "attn_k", "attn_v"),
        "use_qk_norm": "blk.0.attn_q_norm.weight" in keys.tensors,
        "partial_rotary_factor": rotated_share(keys),
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
    }


ARCHITECTURE = Architecture(
    model_type="glm4_moe",
    names={
        **OUTER,
        "output.weight": "lm_head.weight",
        "blk.{i}.attn_norm.weight": LAYER + "input_layernorm.weight",
        "blk.{i}.post_attention_norm.weight": LAYER + "post_attention_layernorm.weight",
        **ATTENTION,
        **biases(_QKV, optional=True),
        **{name: Name(str(hf), optional=True) for name, hf in QK_NORMS.items()},
        **DENSE,
        **EXPERTS,
    },
    config=_config,
)
