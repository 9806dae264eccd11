"""ERNIE 4.5 with experts: leading dense layers, experts chosen with a correction bias and weighed by a softmax."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, expert_counts
from localq.checkpoints.architectures._mla import DENSE
from localq.checkpoints.architectures._shapes import reshaped
from localq.checkpoints.architectures.ernie4_5 import BEGINNING, ernie

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_PARTS = ("gate", "up", "down")


def _config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    width = keys.integer("expert_feed_forward_length")
    shared = keys.integer("expert_shared_feed_forward_length", 0)
    keys.integer("expert_shared_count", 0)
    if width == 0 or shared % width or keys.integer("interleave_moe_layer_step") != 1:
        keys.refuse("expert_feed_forward_length", "expert_shared_feed_forward_length", "interleave_moe_layer_step")
    first = keys.integer("leading_dense_block_count", 0)
    config = ernie(keys)
    return {
        **config,
        "moe_num_experts": experts,
        "moe_k": used,
        "moe_intermediate_size": width,
        "moe_num_shared_experts": shared // width,
        "moe_layer_start_index": first,
        "moe_layer_interval": 1,
        "moe_gate_act": "softmax",
        "moe_use_aux_free": f"blk.{first}.exp_probs_b.bias" in keys.tensors,
    }


def _optional(names: dict[str, str]) -> dict[str, str | Name]:
    return {stored: Name(LAYER + "mlp." + hf, optional=True) for stored, hf in names.items()}


ARCHITECTURE = Architecture(
    model_type="ernie4_5_moe",
    names={
        **BEGINNING,
        **DENSE,
        **_optional(
            {
                "blk.{i}.ffn_gate_inp.weight": "gate.weight",
                "blk.{i}.exp_probs_b.bias": "moe_statics.e_score_correction_bias",
                **{f"blk.{{i}}.ffn_{x}_exps.weight": f"experts.{{e}}.{x}_proj.weight" for x in _PARTS},
                **{f"blk.{{i}}.ffn_{x}_shexp.weight": f"shared_experts.{x}_proj.weight" for x in _PARTS},
            }
        ),
    },
    config=_config,
    prepare=reshaped(exp_probs_b=(1, -1)),
)
