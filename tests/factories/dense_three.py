"""Tiny MiMo V2 and Step 3.5, and their GGUF layout (facts: llama.cpp's conversion/{mimo,step3}.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories.more import GONE, Array, Case, Config

_PATTERN = [0, 1, 1, 0]
_MIMO: Config = {
    "model_type": "mimo_v2_flash",
    "num_hidden_layers": 4,
    "layernorm_epsilon": 1e-5,
    "rms_norm_eps": GONE,
    "hybrid_layer_pattern": _PATTERN,
    "moe_layer_freq": [0, 1, 1, 1],
    "add_swa_attention_sink_bias": True,
    "add_full_attention_sink_bias": False,
    "sliding_window_size": 8,
    "moe_intermediate_size": 64,
    "n_shared_experts": None,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "routed_scaling_factor": None,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "n_group": 1,
    "topk_group": 1,
    "rope_theta": 5e6,
    "swa_rope_theta": 1e4,
    "num_key_value_heads": 1,
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 2,
    "head_dim": 64,
    "v_head_dim": 32,
    "swa_head_dim": 64,
    "swa_v_head_dim": 32,
    "partial_rotary_factor": 0.5,
    "attention_value_scale": 0.707,
}


def _mimo_keys(c: Config) -> dict[str, Any]:
    pattern = [bool(one) for one in c["hybrid_layer_pattern"]]
    return {
        "attention.head_count_kv": [c["swa_num_key_value_heads"] if s else c["num_key_value_heads"] for s in pattern],
        "attention.layer_norm_rms_epsilon": c["layernorm_epsilon"],
        "attention.sliding_window": c["sliding_window_size"],
        "attention.sliding_window_pattern": pattern,
        "attention.value_length": c["v_head_dim"],
        "attention.value_scale": c["attention_value_scale"],
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "expert_group_count": None,
        "expert_group_used_count": None,
        "rope.dimension_count": int(c["head_dim"] * c["partial_rotary_factor"]),
        "rope.freq_base_swa": c["swa_rope_theta"],
    }


def _mimo_stored(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield name.replace("e_score_correction_bias", "e_score_correction.bias"), w


_KINDS = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
_SCALING: Config = {
    "rope_type": "llama3",
    "factor": 2.0,
    "original_max_position_embeddings": 8192,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
_STEP: Config = {
    "model_type": "step3p5",
    "num_hidden_layers": 4,
    "num_key_value_heads": GONE,
    "num_attention_groups": 2,
    "head_dim": 64,
    "rope_theta": [5e6, 1e4, 1e4, 5e6],
    "rope_scaling": _SCALING,
    "yarn_only_types": ["full_attention"],
    "sliding_window": 8,
    "layer_types": _KINDS,
    "partial_rotary_factors": [0.5 if kind == "full_attention" else 1.0 for kind in _KINDS],
    "attention_other_setting": {"num_attention_heads": 6, "num_attention_groups": 3},
    "use_head_wise_attn_gate": True,
    "moe_num_experts": 8,
    "moe_top_k": 3,
    "moe_intermediate_size": 64,
    "share_expert_dim": 64,
    "moe_layers_enum": "1,2,3",
    "moe_router_scaling_factor": 3.0,
    "norm_expert_weight": True,
    "swiglu_limits": [0.0, 0.0, 0.0, 0.5],
    "swiglu_limits_shared": [0.0, 0.0, 0.0, 0.4],
}


def _step_keys(c: Config) -> dict[str, Any]:
    sliding = [kind == "sliding_attention" for kind in c["layer_types"]]
    other = c["attention_other_setting"]
    return {
        "attention.head_count": [other["num_attention_heads"] if s else c["num_attention_heads"] for s in sliding],
        "attention.head_count_kv": [other["num_attention_groups"] if s else c["num_attention_groups"] for s in sliding],
        "attention.sliding_window": c["sliding_window"],
        "attention.sliding_window_pattern": sliding,
        "expert_count": c["moe_num_experts"],
        "expert_used_count": c["moe_top_k"],
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "expert_shared_feed_forward_length": c["share_expert_dim"],
        "expert_weights_scale": c["moe_router_scaling_factor"],
        "expert_weights_norm": c["norm_expert_weight"],
        "leading_dense_block_count": 1,
        "moe_every_n_layers": 1,
        "rope.freq_base": c["rope_theta"][0],
        "rope.freq_base_swa": c["rope_theta"][1],
        "rope.dimension_count": c["head_dim"],
        "swiglu_clamp_exp": c["swiglu_limits"],
        "swiglu_clamp_shexp": c["swiglu_limits_shared"],
    }


def _step_published(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """Names of the published folder; norms there are the distance from one."""
    for ours, theirs in (
        (".mlp.switch_mlp.", ".moe."),
        (".mlp.gate.gate.", ".moe.gate."),
        (".mlp.gate.router_bias", ".moe.router_bias"),
        (".mlp.share_expert.", ".share_expert."),
    ):
        name = name.replace(ours, theirs)
    yield name, w - np.float32(1) if name.endswith("norm.weight") else w


def _step_stored(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield name.replace("router_bias", "router_bias.bias"), w + np.float32(1) if name.endswith("norm.weight") else w


def _step_shown(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """What adding one in float32 rounds away is not in the file."""
    yield name, (w + np.float32(1)) - np.float32(1) if name.endswith("norm.weight") else w


def _factors(c: Config) -> dict[str, Array]:
    width = c["head_dim"] // 2
    wavelengths = 2 * np.pi * c["rope_theta"][0] ** (np.arange(0, width, 2) / width)
    smooth = np.clip((_SCALING["original_max_position_embeddings"] / wavelengths - 1.0) / 3.0, 0, 1)
    divisors = 1 / ((1 - smooth) / _SCALING["factor"] + smooth)
    return {"rope_freqs.weight": np.concatenate([divisors, np.ones(width // 2)]).astype(np.float32)}


CASES: dict[str, Case] = {
    "mimo2": Case(
        "mimo2",
        _MIMO,
        _mimo_keys,
        _mimo_stored,
        names={"model.layers.{bid}.self_attn.attention_sink_bias": "blk.{bid}.attn_sinks.weight"},
    ),
    "step35": Case(
        "step35", _STEP, _step_keys, _step_stored, hugging_face=_step_published, shown=_step_shown, extra=_factors
    ),
}
