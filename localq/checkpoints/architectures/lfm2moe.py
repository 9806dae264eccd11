"""LFM2 with experts: short convolutions and some attention, the first layers dense."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, expert_counts
from localq.checkpoints.architectures._hybrid import any_kind, check_kinds, in_turn
from localq.checkpoints.architectures.lfm2 import MLP, NAMES, PARTS, PREPARE, config_lfm2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_FF = LAYER + "feed_forward."
_KINDS: dict[str, dict[str, str | Name]] = {
    "dense": MLP,
    "expert": {
        "blk.{i}.ffn_gate_inp.weight": _FF + "gate.weight",
        "blk.{i}.exp_probs_b.bias": _FF + "expert_bias",
        **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{_FF}experts.{{e}}.{w}.weight" for w, x in PARTS.items()},
    },
}


def _kinds(keys: ModelKeys) -> list[str]:
    dense = keys.integer("leading_dense_block_count", 0)
    return ["dense" if i < dense else "expert" for i in range(keys.layers)]


def _config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    if keys.integer("expert_gating_func", 2) != 2:  # sigmoid
        keys.refuse("expert_gating_func")
    return {
        **config_lfm2(keys),
        "num_experts": experts,
        "num_experts_per_tok": used,
        "moe_intermediate_size": keys.integer("expert_feed_forward_length"),
        "num_dense_layers": _kinds(keys).count("dense"),
        "use_expert_bias": True,
        "norm_topk_prob": keys.flag("expert_weights_norm", True),
        "routed_scaling_factor": keys.number("expert_weights_scale", 1.0) or 1.0,
    }


ARCHITECTURE = Architecture(
    model_type="lfm2_moe",
    names={**NAMES, **any_kind(_KINDS)},
    config=_config,
    prepare=in_turn(check_kinds(_KINDS, _kinds), PREPARE),
)
