"""Tiny models of the youngest architectures with experts, and their GGUF layout (llama.cpp's conversion/*.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories import state_space
from tests.factories.hybrid import decays
from tests.factories.mla import halves
from tests.factories.mla import keys as latent_keys
from tests.factories.mla import published as latent_published
from tests.factories.more import BASE, GONE, Array, Case, Config

Named = Iterator[tuple[str, Array]]

_YARN: Config = {"rope_type": "yarn", "factor": 40.0, "original_max_position_embeddings": 4096}
_LAGUNA: Config = {
    "model_type": "laguna",
    "num_hidden_layers": 4,
    "head_dim": 64,
    "num_attention_heads": 8,
    "num_attention_heads_per_layer": [4, 8, 8, 4],
    "gating": True,
    "sliding_window": 8,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 96,
    "moe_routed_scaling_factor": 2.5,
    "rope_theta": GONE,
    "rope_parameters": {
        "full_attention": {
            **_YARN,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "rope_theta": 5e5,
            "partial_rotary_factor": 0.5,
        },
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0},
    },
}


def _laguna_keys(c: Config) -> dict[str, Any]:
    full, local = (c["rope_parameters"].get(kind) for kind in ("full_attention", "sliding_attention"))
    keys = {
        "vocab_size": c["vocab_size"],
        "attention.head_count": c["num_attention_heads_per_layer"],
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "expert_shared_feed_forward_length": c["shared_expert_intermediate_size"],
        "expert_weights_norm": True,
        "expert_weights_scale": c["moe_routed_scaling_factor"],
        "expert_gating_func": 2,
        "leading_dense_block_count": c["mlp_layer_types"].count("dense"),
        "rope.freq_base": full["rope_theta"],
        "rope.dimension_count": int(c["head_dim"] * full["partial_rotary_factor"]),
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": full["factor"],
        "rope.scaling.original_context_length": full["original_max_position_embeddings"],
        "rope.scaling.yarn_beta_fast": full["beta_fast"],
        "rope.scaling.yarn_beta_slow": full["beta_slow"],
    }
    if local is None:
        return keys
    return keys | {
        "attention.sliding_window": c["sliding_window"],
        "attention.sliding_window_pattern": [kind == "sliding_attention" for kind in c["layer_types"]],
        "rope.freq_base_swa": local["rope_theta"],
        "rope.dimension_count_swa": int(c["head_dim"] * local["partial_rotary_factor"]),
    }


def _laguna_published(c: Config, name: str, w: Array) -> Named:
    name = name.replace("mlp.gate.proj.", "mlp.gate.")
    yield name.replace("mlp.gate.e_score_correction_bias", "mlp.experts.e_score_correction_bias"), w


def _laguna_change(c: Config, name: str, w: Array) -> Named:
    yield name.replace("e_score_correction_bias", "e_score_correction.bias"), w


def _per_channel(c: Config, name: str, w: Array) -> Named:
    for changed, value in _laguna_published(c, name, w):
        if changed.endswith("g_proj.weight"):
            rng = np.random.default_rng(len(value) + int(1e6 * abs(float(value.flat[0]))))
            value = rng.standard_normal((len(value) * c["head_dim"], value.shape[1]), dtype=np.float32) / np.float32(16)
        yield changed, value


_A = "model.layers.{bid}."
_LAGUNA_NAMES = {
    _A + "self_attn.g_proj": "blk.{bid}.attn_gate",
    _A + "mlp.experts.e_score_correction": "blk.{bid}.exp_probs_b",
    **{f"{_A}mlp.shared_expert.{x}_proj": f"blk.{{bid}}.ffn_{x}_shexp" for x in ("gate", "up", "down")},
}
_MISTRAL: Config = {
    "model_type": "mistral4",
    "num_key_value_heads": 4,
    "kv_lora_rank": 64,
    "q_lora_rank": 128,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "moe_intermediate_size": 64,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 0,
    "routed_scaling_factor": 1.0,
    "norm_topk_prob": True,
    "n_group": 1,
    "topk_group": 1,
    "rope_parameters": {
        **_YARN,
        "type": "yarn",
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "rope_theta": 1e4,
        "llama_4_scaling_beta": 0.1,
    },
}


def _mistral_keys(c: Config) -> dict[str, Any]:
    rope = c["rope_parameters"]
    return {
        **latent_keys(c),
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": rope["factor"],
        "rope.scaling.original_context_length": rope["original_max_position_embeddings"],
        "rope.scaling.yarn_beta_fast": rope["beta_fast"],
        "rope.scaling.yarn_beta_slow": rope["beta_slow"],
        "rope.scaling.yarn_log_multiplier": 0.1 * rope["mscale_all_dim"],
    }


_LING: Config = {
    "model_type": "bailing_moe_v3",
    "num_hidden_layers": 5,
    "layer_group_size": 2,
    "head_dim": 64,
    "num_key_value_heads": GONE,
    "q_lora_rank": 128,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "short_conv_kernel_size": 4,
    "kda_lower_bound": -5.0,
    "kda_safe_gate": True,
    "no_kda_lora": True,
    "rope_interleave": True,
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "num_shared_experts": 1,
    "moe_intermediate_size": 64,
    "moe_shared_expert_intermediate_size": 96,
    "first_k_dense_replace": 1,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 2.5,
}


def _ling_full(c: Config) -> list[bool]:
    whole = c["num_hidden_layers"] // c["layer_group_size"] * c["layer_group_size"]
    return [(i + 1) % c["layer_group_size"] == 0 or i >= whole for i in range(c["num_hidden_layers"])]


def _ling_keys(c: Config) -> dict[str, Any]:
    return {
        "attention.head_count_kv": [int(full) for full in _ling_full(c)],
        "vocab_size": c["vocab_size"],
        "ssm.conv_kernel": c["short_conv_kernel_size"],
        "kda.head_dim": c["head_dim"],
        "kda.safe_gate": True,
        "kda.gate_lower_bound": c["kda_lower_bound"],
        "attention.q_lora_rank": c["q_lora_rank"],
        "attention.kv_lora_rank": c["kv_lora_rank"],
        "rope.dimension_count": c["qk_rope_head_dim"],
        "attention.key_length": c["kv_lora_rank"] + c["qk_rope_head_dim"],
        "attention.value_length": None,
        "attention.key_length_mla": c["qk_nope_head_dim"] + c["qk_rope_head_dim"],
        "attention.value_length_mla": c["v_head_dim"],
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "expert_shared_feed_forward_length": c["moe_shared_expert_intermediate_size"],
        "expert_shared_count": c["num_shared_experts"],
        "leading_dense_block_count": c["first_k_dense_replace"],
        "expert_weights_scale": c["routed_scaling_factor"],
        "expert_weights_norm": True,
        "expert_gating_func": 2,
        "swiglu_clamp_exp": [0.0] * c["num_hidden_layers"],
    }


def _ling_published(c: Config, name: str, w: Array) -> Named:
    if "conv1d" in name:
        yield name, np.ascontiguousarray(w.swapaxes(1, 2)) / np.float32(2)
    elif name.endswith("A_log"):
        # logarithm and exponential of these undo each other in float32
        yield name, np.asarray(np.log(np.exp(decays(w).astype(np.float64)).astype(np.float32).astype(np.float64)), "f4")
    else:
        yield from latent_published(c, name, w)


def _ling_change(c: Config, name: str, w: Array) -> Named:
    if "conv1d" in name:
        yield name, w.reshape(1, w.shape[0], 1, w.shape[-1])
    elif name.endswith("A_log"):
        yield name, np.exp(w.astype(np.float64)).astype(np.float32).reshape(-1, 1)
    elif name.endswith("g_proj.weight") and not _ling_full(c)[int(name.split(".")[2])]:
        yield name.replace("g_proj", "g_a_proj"), w
    else:
        name = name.replace(".dt_bias", ".dt_proj.bias").replace(".expert_bias", ".expert_bias.bias")
        yield from halves(c, name, w)


_M3_FLAT: Config = {
    "num_hidden_layers": 3,
    "head_dim": 64,
    "rotary_dim": 32,
    "intermediate_size": 64,
    "dense_intermediate_size": 256,
    "shared_intermediate_size": 128,
    "num_local_experts": 8,
    "num_experts_per_tok": 3,
    "n_shared_experts": 2,
    "routed_scaling_factor": 2.0,
    "moe_layer_freq": [0, 1, 1],
    "scoring_func": "sigmoid",
    "sparse_attention_config": {
        "sparse_num_index_heads": 2,
        "sparse_index_dim": 64,
        "sparse_topk_blocks": 8,  # more than the test's tokens fill: llama.cpp picks with flash attention only
        "sparse_block_size": 16,
        "sparse_local_block": 1,
        "sparse_attention_freq": [0, 1, 1],
    },
}
_M3: Config = {"model_type": "minimax_m3_vl", **_M3_FLAT, "text_config": {**BASE, **_M3_FLAT}}


def _m3_keys(c: Config) -> dict[str, Any]:
    indexer = c["sparse_attention_config"]
    return {
        "feed_forward_length": c["dense_intermediate_size"],
        "expert_feed_forward_length": c["intermediate_size"],
        "rope.dimension_count": c["rotary_dim"],
        "expert_shared_count": c["n_shared_experts"],
        "expert_weights_scale": c["routed_scaling_factor"],
        "expert_weights_norm": True,
        "leading_dense_block_count": c["moe_layer_freq"].count(0),
        "attention.indexer.head_count": indexer["sparse_num_index_heads"],
        "attention.indexer.key_length": indexer["sparse_index_dim"],
        "attention.indexer.top_k": indexer["sparse_topk_blocks"],
        "attention.indexer.block_size": indexer["sparse_block_size"],
        "attention.indexer.local_blocks": indexer["sparse_local_block"],
    }


def _m3_published(c: Config, name: str, w: Array) -> Named:
    for ours, theirs in (("gate_proj", "w1"), ("down_proj", "w2"), ("up_proj", "w3")):
        if ".experts." in name:
            name = name.replace(f".{ours}.", f".{theirs}.")
    yield name, np.float32(0.5) * (w - 1) if name.endswith("norm.weight") else w


def _m3_change(c: Config, name: str, w: Array) -> Named:
    name = name.removeprefix("language_model.")
    name = name.replace("e_score_correction_bias", "e_score_correction.bias")
    yield name, w + np.float32(1) if name.endswith("norm.weight") else w


_M3_MOE = _A + "block_sparse_moe."
_M3_NAMES = {
    **{f"{_A}self_attn.index_{x}": f"blk.{{bid}}.indexer.{x}" for x in ("q_proj", "k_proj", "q_norm", "k_norm")},
    **{f"{_A}mlp.{x}_proj": f"blk.{{bid}}.ffn_{x}" for x in ("gate", "up", "down")},
    **{f"{_M3_MOE}shared_experts.{x}_proj": f"blk.{{bid}}.ffn_{x}_shexp" for x in ("gate", "up", "down")},
}
_ATTENTION = _A + "attention."
_LING_NAMES = {
    "model.word_embeddings": "token_embd",
    **{f"{_ATTENTION}{x}_proj": f"blk.{{bid}}.attn_{x}" for x in "qkv"},
    **{f"{_ATTENTION}{x}_conv1d": f"blk.{{bid}}.ssm_conv1d_{x}" for x in "qkv"},
    **{f"{_ATTENTION}{x}_b_proj": f"blk.{{bid}}.attn_{x}_b" for x in "kvq"},
    _ATTENTION + "A_log": "blk.{bid}.ssm_a",
    _ATTENTION + "dt_proj": "blk.{bid}.ssm_dt",
    _ATTENTION + "f_proj": "blk.{bid}.ssm_f_a",
    _ATTENTION + "g_a_proj": "blk.{bid}.ssm_g_a",
    _ATTENTION + "g_proj": "blk.{bid}.attn_gate",
    _ATTENTION + "b_proj": "blk.{bid}.ssm_beta",
    _ATTENTION + "o_norm": "blk.{bid}.ssm_norm",
    _ATTENTION + "o_proj": "blk.{bid}.attn_output",
    _ATTENTION + "dense": "blk.{bid}.attn_output",
    _ATTENTION + "q_a_proj": "blk.{bid}.attn_q_a",
    _ATTENTION + "q_a_layernorm": "blk.{bid}.attn_q_a_norm",
    _ATTENTION + "kv_a_proj_with_mqa": "blk.{bid}.attn_kv_a_mqa",
    _ATTENTION + "kv_a_layernorm": "blk.{bid}.attn_kv_a_norm",
    _A + "mlp.gate.expert_bias": "blk.{bid}.exp_probs_b",
    **{f"{_A}mlp.shared_experts.{x}_proj": f"blk.{{bid}}.ffn_{x}_shexp" for x in ("gate", "up", "down")},
}
_HYBRID = state_space.CASES["granitehybrid_moe"]


def _granite_keys(c: Config) -> dict[str, Any]:
    """A hybrid without state-space layers is written as granitemoe."""
    own = {key: value for key, value in _HYBRID.keys(c).items() if not key.startswith("ssm.")}
    more = {"attention.head_count_kv": c["num_key_value_heads"], "context_length": c["max_position_embeddings"]}
    return {**own, **more, "rope.scaling.finetuned": None, "rope.dimension_count": 64}


CASES: dict[str, Case] = {
    "granitemoe_shared": _HYBRID._replace(
        gguf="granitemoe",
        keys=_granite_keys,
        config={
            **_HYBRID.config,
            "layer_types": ["attention"] * _HYBRID.config["num_hidden_layers"],
            "position_embedding_type": "rope",
        },
    ),
    "minimax_m3": Case("minimax-m3", _M3, _m3_keys, _m3_change, names=_M3_NAMES, hugging_face=_m3_published),
    "bailingmoe3": Case(
        "bailingmoe3", _LING, _ling_keys, _ling_change, names=_LING_NAMES, hugging_face=_ling_published
    ),
    "laguna": Case(
        "laguna", _LAGUNA, _laguna_keys, _laguna_change, names=_LAGUNA_NAMES, hugging_face=_laguna_published
    ),
    "laguna_per_channel": Case(
        "laguna",
        {
            **_LAGUNA,
            "gating": "per-element",
            "num_attention_heads_per_layer": [4] * 4,
            "num_attention_heads": 4,
            "sliding_window": None,
            "layer_types": ["full_attention"] * 4,
            "mlp_layer_types": ["dense", "dense", "sparse", "sparse"],
            "rope_parameters": {"full_attention": _LAGUNA["rope_parameters"]["full_attention"]},
        },
        _laguna_keys,
        _laguna_change,
        names=_LAGUNA_NAMES,
        hugging_face=_per_channel,
    ),
    "mistral4": Case("mistral4", _MISTRAL, _mistral_keys, halves, hugging_face=latent_published),
}
