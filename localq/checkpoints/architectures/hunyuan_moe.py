"""Hunyuan A13B: as the dense ones, with experts and a shared one in every layer, and a tied head."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, NORMS, OUTER, decoder, expert_counts
from localq.checkpoints.architectures.hunyuan_dense import QK_NORMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_PARTS = ("gate", "up", "down")


def _config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    keys.integer("rope.scaling.original_context_length", 0)
    keys.integer("expert_shared_count", 1)
    config = decoder(keys, scalings=(), own_head_dim=False)
    return {
        **config,
        # How wide the shared expert is: in Hugging Face's config the width of one times their number
        "intermediate_size": keys.integer("expert_shared_feed_forward_length", 0) or config["intermediate_size"],
        "num_shared_expert": 1,
        "moe_intermediate_size": keys.integer("expert_feed_forward_length"),
        "num_experts": experts,
        "moe_topk": used,
        "attention_bias": False,
        "rope_scaling": None,
    }


ARCHITECTURE = Architecture(
    model_type="hunyuan_v1_moe",
    names={
        "token_embd.weight": OUTER["token_embd.weight"],
        "output_norm.weight": OUTER["output_norm.weight"],
        **NORMS,
        **ATTENTION,
        **QK_NORMS,
        "blk.{i}.ffn_gate_inp.weight": LAYER + "mlp.gate.wg.weight",
        **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{LAYER}mlp.experts.{{e}}.{x}_proj.weight" for x in _PARTS},
        **{f"blk.{{i}}.ffn_{x}_shexp.weight": f"{LAYER}mlp.shared_mlp.{x}_proj.weight" for x in _PARTS},
    },
    config=_config,
)
