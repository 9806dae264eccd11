"""K-EXAONE: sigmoid experts after leading dense layers, three of four layers slide and only those are rotated."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, NORMS, OUTER, QK_NORMS, decoder, sliding_layers
from localq.checkpoints.architectures._mla import DENSE, EXPERTS, experts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    config, found = decoder(keys), experts(keys)
    if keys.integer("expert_gating_func") != 2:
        keys.refuse("expert_gating_func")
    if keys.number("rope.freq_base_swa", config["rope_theta"]) != config["rope_theta"]:
        keys.refuse("rope.freq_base_swa")
    sliding = sliding_layers(keys, period=4)
    shared = keys.integer("expert_shared_feed_forward_length", found["moe_intermediate_size"])
    if not any(sliding) or shared != found["moe_intermediate_size"] * (found["n_shared_experts"] or 1):
        keys.refuse("attention.sliding_window_pattern", "expert_shared_feed_forward_length")
    return {
        **config,
        **found,
        "num_experts": found["n_routed_experts"],
        "num_shared_experts": found["n_shared_experts"] or 0,
        "sliding_window": keys.integer("attention.sliding_window"),
        "layer_types": ["sliding_attention" if flag else "full_attention" for flag in sliding],
        "is_moe_layer": [i >= found["first_k_dense_replace"] for i in range(keys.layers)],
        "scoring_func": "sigmoid",
    }


ARCHITECTURE = Architecture(
    model_type="exaone_moe",
    names={
        **OUTER,
        **NORMS,
        **ATTENTION,
        **QK_NORMS,
        **DENSE,
        **EXPERTS,
        "blk.{i}.exp_probs_b.bias": Name(LAYER + "mlp.e_score_correction_bias", optional=True),
    },
    config=_config,
    consumed=("rope_freqs.weight",),
)
