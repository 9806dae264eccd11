"""Qwen3 with experts in every layer (30B-A3B, 235B-A22B, Coder)."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, NORMS, OUTER, QK_NORMS, decoder, expert_counts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    config = decoder(keys, scalings=("linear", "yarn"))
    return {
        **config,
        "num_experts": experts,
        "num_experts_per_tok": used,
        # llama.cpp: n_ff_exp falls back to n_ff / n_expert_used (src/models/qwen3moe.cpp)
        "moe_intermediate_size": keys.integer("expert_feed_forward_length", config["intermediate_size"] // used),
        "norm_topk_prob": keys.flag("expert_weights_norm", True),
        # GGUF has no key for these: src/models/qwen3moe.cpp puts experts in every layer
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


ARCHITECTURE = Architecture(
    model_type="qwen3_moe",
    names={
        **OUTER,
        **NORMS,
        **ATTENTION,
        **QK_NORMS,
        "blk.{i}.ffn_gate_inp.weight": LAYER + "mlp.gate.weight",
        "blk.{i}.ffn_gate_exps.weight": LAYER + "mlp.experts.{e}.gate_proj.weight",
        "blk.{i}.ffn_up_exps.weight": LAYER + "mlp.experts.{e}.up_proj.weight",
        "blk.{i}.ffn_down_exps.weight": LAYER + "mlp.experts.{e}.down_proj.weight",
    },
    config=_config,
)
