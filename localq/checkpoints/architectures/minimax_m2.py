"""MiniMax M2: norms over all query and all key heads at once, experts weighed by sigmoids in every layer."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    NORMS,
    OUTER,
    QK_NORMS,
    decoder,
    expert_counts,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_MOE = LAYER + "block_sparse_moe."


def _config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    if keys.integer("expert_gating_func", 0) != 2:
        keys.refuse("expert_gating_func")
    config = decoder(keys, scalings=(), partial_rope=True)
    return {
        **config,
        "intermediate_size": keys.integer("expert_feed_forward_length", config["intermediate_size"]),
        "shared_intermediate_size": 0,
        "rotary_dim": keys.integer("rope.dimension_count", config["head_dim"]),
        "num_local_experts": experts,
        "num_experts_per_tok": used,
        "scoring_func": "sigmoid",
        "use_qk_norm": True,
    }


ARCHITECTURE = Architecture(
    model_type="minimax_m2",
    names={
        **OUTER,
        **NORMS,
        **ATTENTION,
        **QK_NORMS,
        "blk.{i}.ffn_gate_inp.weight": _MOE + "gate.weight",
        "blk.{i}.exp_probs_b.bias": _MOE + "e_score_correction_bias",
        "blk.{i}.ffn_gate_exps.weight": _MOE + "experts.{e}.w1.weight",
        "blk.{i}.ffn_down_exps.weight": _MOE + "experts.{e}.w2.weight",
        "blk.{i}.ffn_up_exps.weight": _MOE + "experts.{e}.w3.weight",
    },
    config=_config,
)
