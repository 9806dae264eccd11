"""A tiny config of every architecture with a cache plan: the common keys, and what one of them adds."""

from __future__ import annotations

from typing import Any

from tests.factories import every

_COMMON: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 24, "vocab_size": 320, "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "layer_norm_eps": 1e-5, "layer_norm_epsilon": 1e-5, "norm_eps": 1e-5,
    "attention_bias": False, "mlp_bias": False, "use_bias": False, "tie_word_embeddings": True, "num_experts": 4,
    "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_routed_experts": 4,
    "n_shared_experts": 1, "num_shared_experts": 1, "shared_expert_intermediate_size": 32, "sliding_window": 40,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_group": 1, "topk_group": 1,
    "routed_scaling_factor": 1.0, "norm_topk_prob": True, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
    "logits_scaling": 1.0, "embedding_multiplier": 1.0, "attention_multiplier": 0.2, "residual_multiplier": 1.0,
    "partial_rotary_factor": 0.5, "use_qk_norm": False, "rope_scaling": None, "mlp_only_layers": [],
    "decoder_sparse_step": 1,
}  # fmt: skip
_GPT = {"n_embd": 64, "n_layer": 4, "n_head": 4, "n_inner": 96, "n_positions": 4096, "n_ctx": 4096}
_MLA = {"kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16, "q_lora_rank": 24}
_MINICPM = {"dim_model_base": 32, "scale_depth": 1.0, "scale_emb": 1.0}
_TYPES = ["sliding_attention", "full_attention"] * 2
_INDEX = {"index_head_dim": 16, "index_n_heads": 2, "index_topk": 64, "attention_bias": False}
_DELTA = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 32, "linear_value_head_dim": 32,
    "linear_conv_kernel_dim": 4, "full_attention_interval": 2,
}  # fmt: skip
_MAMBA2 = {
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_n_groups": 2, "mamba_d_state": 8, "mamba_d_conv": 4,
    "mamba_proj_bias": False, "mamba_conv_bias": True,
}  # fmt: skip
_GEMMA3N = {
    "model_type": "gemma3n_text", "num_hidden_layers": 5, "num_kv_shared_layers": 1,
    "layer_types": ["sliding_attention"] * 3 + ["full_attention", "sliding_attention"],
    "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 320, "altup_num_inputs": 2, "altup_active_idx": 0,
    "altup_coef_clip": 120.0, "altup_correct_scale": True, "laurel_rank": 8, "rope_local_base_freq": 1e4,
    "final_logit_softcapping": 30.0, "activation_sparsity_pattern": [0.0] * 5, "query_pre_attn_scalar": 24,
    "intermediate_size": [96] * 5,
}  # fmt: skip
_GEMMA4 = {
    "layer_types": ["sliding_attention"] * 2 + ["full_attention"] + ["sliding_attention"] * 2 + ["full_attention"],
    "num_hidden_layers": 6, "num_kv_shared_layers": 2, "global_head_dim": 48, "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": 320, "num_global_key_value_heads": None,
}  # fmt: skip

_OWN: dict[str, dict[str, Any]] = {
    "apertus": {"post_norm": False, "qk_norm": True},
    "cohere": {"num_key_value_heads": 2},
    "cohere2": {"head_dim": 16, "sliding_window_pattern": 2},
    "dbrx": {
        "d_model": 64, "n_layers": 4, "n_heads": 4, "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 96, "moe_num_experts": 4, "moe_top_k": 2, "moe_jitter_eps": 0.01},
    },
    "deepseek_v2": {**_MLA, "scoring_func": "softmax", "rope_scaling": {
        "type": "yarn", "factor": 2, "mscale_all_dim": 1, "mscale": 1, "original_max_position_embeddings": 2048}},
    "deepseek_v3": _MLA, "kimi_k2": _MLA, "glm4_moe_lite": _MLA, "youtu_llm": _MLA,
    "mistral4": {**_MLA, "rope_parameters": {
        "type": "yarn", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 2048, "beta_fast": 32.0,
        "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}},
    "deepseek_v32": {**_MLA, **_INDEX}, "glm_moe_dsa": {**_MLA, **_INDEX, "rope_parameters": {"rope_theta": 1e4}},
    "ernie4_5_moe": {"moe_num_experts": 4, "moe_layer_start_index": 0, "moe_k": 2},
    "exaone": {**_GPT, "head_dim": 16, "num_layers": 4},
    "exaone4": {"head_dim": 16, "sliding_window_pattern": "LG", "rope_scaling": {"rope_type": "default"}},
    "falcon_h1": {**_MAMBA2, "mamba_d_ssm": 64},
    "falcon_mamba": {"state_size": 8, "conv_kernel": 4, "use_conv_bias": True, "time_step_rank": 4},
    "mamba": {"state_size": 8, "conv_kernel": 4, "use_conv_bias": True, "time_step_rank": 4},
    "mamba2": {
        "num_heads": 4, "head_dim": 16, "state_size": 8, "conv_kernel": 4, "n_groups": 2, "use_conv_bias": True,
        "time_step_limit": [0.0, 100.0], "time_step_rank": 4,
    },
    "gemma3": {"text_config": {
        **_COMMON, "num_hidden_layers": 6, "sliding_window_pattern": 3, "model_type": "gemma3_text"}},
    "gemma3_text": {"num_hidden_layers": 6, "sliding_window_pattern": 3},
    "gemma3n": {"text_config": {**_COMMON, **_GEMMA3N}},
    "gemma4": {"text_config": {**_COMMON, **_GEMMA4, "model_type": "gemma4_text"}},
    "gemma4_text": _GEMMA4,
    "glm4_moe": {"use_qk_norm": True},
    "gpt2": {**_GPT, "num_key_value_heads": None, "head_dim": None},
    "gpt_bigcode": {**_GPT, "multi_query": True, "num_key_value_heads": None, "head_dim": None},
    "gpt_neox": {"rotary_emb_base": 10000, "rotary_pct": 0.25, "num_key_value_heads": 4, "head_dim": 16},
    "gpt_oss": {"num_local_experts": 4, "layer_types": _TYPES, "head_dim": 24},
    "granitemoehybrid": {**_MAMBA2, "layer_types": ["mamba", "attention"] * 2, "shared_intermediate_size": 32},
    "granitemoeshared": {"shared_intermediate_size": 32},
    "hunyuan": {
        "moe_topk": 2, "num_shared_expert": 1, "use_mixed_mlp_moe": True, "use_cla": False, "cla_share_factor": 1,
        "rope_scaling": {"factor": 1.0, "alpha": 1.0, "type": "dynamic"},
    },
    "hunyuan_v1_moe": {
        "moe_topk": [2] * 4, "num_shared_expert": [1] * 4, "use_mixed_mlp_moe": True, "use_cla": False,
        "rope_scaling": {"factor": 1.0, "alpha": 1.0, "type": "dynamic"},
    },
    "hunyuan_v1_dense": {"rope_scaling": {"factor": 1.0, "alpha": 1.0, "type": "dynamic"}},
    "jamba": {
        "attn_layer_offset": 1, "attn_layer_period": 2, "expert_layer_offset": 1, "expert_layer_period": 2,
        "mamba_d_conv": 4, "mamba_d_state": 8, "mamba_expand": 2,
    },
    "kimi_linear": {**_MLA, "model_max_length": 4096, "linear_attn_config": {
        "num_heads": 2, "head_dim": 16, "short_conv_kernel_size": 4, "kda_layers": [1, 3], "full_attn_layers": [2, 4]}},
    "lfm2": {
        "conv_bias": False, "conv_L_cache": 3, "block_dim": 64, "block_multiple_of": 8, "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False, "layer_types": ["conv", "full_attention"] * 2,
    },
    "lfm2_moe": {
        "use_expert_bias": True, "num_dense_layers": 1, "conv_bias": False, "conv_L_cache": 3,
        "layer_types": ["conv", "full_attention"] * 2,
    },
    "lille-130m": {**_GPT, "block_size": 4096, "n_kv_heads": 2, "head_dim": 16},
    "llama": {"layer_types": _TYPES},
    "llama4": {"text_config": {
        **_COMMON, "model_type": "llama4_text", "attention_chunk_size": 40, "interleave_moe_layer_step": 2,
        "intermediate_size_mlp": 96, "use_qk_norm": True, "attn_temperature_tuning": 4, "floor_scale": 8192,
        "attn_scale": 0.1, "num_hidden_layers": 8, "num_experts_per_tok": 1}},
    "longcat_flash": {
        **_MLA, "num_layers": 2, "attention_method": "MLA", "zero_expert_type": "identity", "ffn_hidden_size": 96,
        "moe_topk": 2, "expert_ffn_hidden_size": 32, "zero_expert_num": 1, "mla_scale_q_lora": True,
        "mla_scale_kv_lora": True,
    },
    "mellum": {"layer_types": _TYPES, "rope_parameters": {
        "full_attention": {"rope_theta": 1e4, "rope_type": "default"},
        "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"}}},
    "mimo_v2_flash": {
        "hybrid_layer_pattern": [0, 1, 1, 0], "moe_layer_freq": [0, 1, 1, 1], "sliding_window_size": 40,
        "add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False, "layernorm_epsilon": 1e-5,
        "swa_rope_theta": 1e4, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "head_dim": 24,
        "v_head_dim": 16, "swa_head_dim": 24, "swa_v_head_dim": 16, "n_shared_experts": None,
    },
    "minicpm": {**_MINICPM, "head_dim": None}, "minicpm3": {**_MINICPM, **_MLA, "rope_scaling": {
        "type": "longrope", "short_factor": [1.0] * 4, "long_factor": [1.0] * 4,
        "original_max_position_embeddings": 4096}},
    "minimax": {"shared_intermediate_size": 0, "rotary_dim": 12},
    "minimax_m2": {"shared_intermediate_size": 0, "rotary_dim": 12},
    "ministral3": {"layer_types": _TYPES, "rope_parameters": {
        "rope_theta": 1e4, "rope_type": "default", "llama_4_scaling_beta": 0.1,
        "original_max_position_embeddings": 4096}},
    "mistral3": {"text_config": {**_COMMON, "model_type": "llama"}},
    "nemotron": {"hidden_act": "relu2"},
    "nemotron_h": {
        "mamba_num_heads": 4, "mamba_head_dim": 16, "mamba_proj_bias": False, "ssm_state_size": 8, "conv_kernel": 4,
        "n_groups": 2, "use_conv_bias": True, "hybrid_override_pattern": ["M", "-", "*", "M"],
        "moe_shared_expert_intermediate_size": 32, "time_step_limit": [0.0, 100.0],
    },
    "olmo3": {"layer_types": _TYPES},
    "phi": {"num_key_value_heads": 2},
    "phimoe": {"num_local_experts": 4, "rope_scaling": {
        "type": "longrope", "short_factor": [1.0] * 8, "long_factor": [1.0] * 8, "short_mscale": 1.0,
        "long_mscale": 1.0, "original_max_position_embeddings": 4096}, "original_max_position_embeddings": 4096},
    "qwen": {"num_key_value_heads": 4, "kv_channels": 16},
    "qwen3_5": {"text_config": {**_COMMON, **_DELTA, "model_type": "qwen3_5_text"}},
    "qwen3_5_moe": {"text_config": {**_COMMON, **_DELTA, "model_type": "qwen3_5_moe_text"}},
    "qwen3_next": {**_DELTA, "num_key_value_heads": 2},
    "rwkv7": {
        "head_dim": 16, "a_low_rank_dim": 8, "v_low_rank_dim": 8, "gate_low_rank_dim": 8, "decay_low_rank_dim": 8,
    },
    "solar_open": {"partial_rotary_factor": 1.0},
    "stablelm": {"use_qkv_bias": False},
    "step3p5": {
        "num_attention_groups": 2, "layer_types": _TYPES, "sliding_window": 40, "moe_num_experts": 4, "moe_top_k": 2,
        "attention_other_setting": {"num_attention_heads": 4, "num_attention_groups": 1, "head_dim": 24},
    },
}  # fmt: skip


def tiny(model_type: str) -> dict[str, Any]:
    """A config of a few thousand weights: of this table, else of the one all architectures are loaded from."""
    if model_type not in _OWN and model_type in every.model_types():
        return every.config(model_type)
    return {**_COMMON, **_OWN.get(model_type, {}), "model_type": model_type}
