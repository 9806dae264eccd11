"""Ling and Ring 2.0: q, k and v fused in both containers, norms on queries and keys, sigmoid experts in groups."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, NORMS
from localq.checkpoints.architectures._mla import DENSE, EXPERTS
from localq.checkpoints.architectures.bailingmoe import OUTER, bailing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_ATTN = LAYER + "attention."


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = bailing(keys, partial_rope=True)
    gating = {1: "softmax", 2: "sigmoid"}.get(keys.integer("expert_gating_func"))
    if gating is None:
        keys.refuse("expert_gating_func")
    shared = keys.integer("expert_shared_feed_forward_length", config["moe_intermediate_size"])
    each = shared // max(config["num_shared_experts"], 1)
    return {
        **config,
        "score_function": gating,
        "use_qk_norm": True,
        "moe_router_enable_expert_bias": any(name.endswith("exp_probs_b.bias") for name in keys.tensors),
        "moe_shared_expert_intermediate_size": each,
    }


ARCHITECTURE = Architecture(
    model_type="bailing_moe",
    names={
        **OUTER,
        **NORMS,
        "blk.{i}.attn_qkv.weight": _ATTN + "query_key_value.weight",
        "blk.{i}.attn_q_norm.weight": _ATTN + "query_layernorm.weight",
        "blk.{i}.attn_k_norm.weight": _ATTN + "key_layernorm.weight",
        "blk.{i}.attn_output.weight": _ATTN + "dense.weight",
        **DENSE,
        **EXPERTS,
        "blk.{i}.exp_probs_b.bias": Name(LAYER + "mlp.gate.expert_bias", optional=True),
    },
    config=_config,
)
