"""Arcee Trinity (AFMoE): gated attention, four norms a layer, three of four layers slide and only those are rotated."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, OUTER, QK_NORMS, decoder, sliding_layers
from localq.checkpoints.architectures._mla import DENSE, EXPERTS, experts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    config, found = decoder(keys), experts(keys)
    gating = keys.integer("expert_gating_func", 0) or 2  # src/models/afmoe.cpp
    window = keys.integer("attention.sliding_window", 0)
    if gating != 2 or keys.number("rope.freq_base_swa", config["rope_theta"]) != config["rope_theta"] or not window:
        keys.refuse("expert_gating_func", "rope.freq_base_swa", "attention.sliding_window")
    # llama.cpp leaves out the rotation of every fourth layer, mlx-lm that of the layers that see everything
    sliding = sliding_layers(keys, period=4)
    if any(flag == ((i + 1) % 4 == 0) for i, flag in enumerate(sliding)):
        keys.refuse("attention.sliding_window_pattern")
    return {
        **config,
        "layer_types": ["sliding_attention" if flag else "full_attention" for flag in sliding],
        "sliding_window": window,
        "num_experts": found["n_routed_experts"],
        "num_experts_per_tok": found["num_experts_per_tok"],
        "num_shared_experts": found["n_shared_experts"] or 0,
        "num_dense_layers": found["first_k_dense_replace"],
        "moe_intermediate_size": found["moe_intermediate_size"],
        "route_norm": found["norm_topk_prob"],
        "route_scale": found["routed_scaling_factor"],
        "score_func": "sigmoid",
        "n_group": found["n_group"],
        "topk_group": found["topk_group"],
        "mup_enabled": True,  # llama.cpp always scales the embedding
    }


ARCHITECTURE = Architecture(
    model_type="afmoe",
    names={
        **OUTER,
        **ATTENTION,
        **QK_NORMS,
        "blk.{i}.attn_gate.weight": LAYER + "self_attn.gate_proj.weight",
        "blk.{i}.attn_norm.weight": LAYER + "input_layernorm.weight",
        "blk.{i}.post_attention_norm.weight": LAYER + "post_attention_layernorm.weight",
        "blk.{i}.ffn_norm.weight": LAYER + "pre_mlp_layernorm.weight",
        "blk.{i}.post_ffw_norm.weight": LAYER + "post_mlp_layernorm.weight",
        **DENSE,
        **EXPERTS,
        "blk.{i}.ffn_gate_inp.weight": Name(LAYER + "mlp.router.gate.weight", optional=True),
        "blk.{i}.exp_probs_b.bias": Name(LAYER + "mlp.expert_bias", optional=True),
    },
    config=_config,
)
