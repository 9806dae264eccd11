"""A tiny config for every architecture of mlx-lm: sizes by the names of its arguments, and what else a type needs."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

from localq.checkpoints.absent_keys import completed

Config = dict[str, Any]

# What an argument of this name is set to wherever a model takes it
SIZES: Config = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "model_dim", "dim", "hidden_dim", "emb_dim"), 128),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "ff_intermediate_size", "mlp_hidden_size"), 128),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers"), 4),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "n_kv_heads", "num_kv_heads", "n_head_kv"), 2),
    **dict.fromkeys(("rms_norm_eps", "norm_eps", "layer_norm_eps", "layer_norm_epsilon", "layernorm_epsilon"), 1e-5),
    **dict.fromkeys(("norm_epsilon", "layer_norm_rms_epsilon", "block_norm_eps"), 1e-5),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length"), 256),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_k", "num_experts_per_token", "moe_topk", "top_k_experts"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_hidden_dim"), 64),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "num_shared_expert"), 1),
    **dict.fromkeys(("moe_shared_expert_intermediate_size", "shared_intermediate_size", "expert_ffn_hidden_size"), 64),
    "vocab_size": 320,
    "head_dim": 32,
    "rope_theta": 10000.0,
    "sliding_window": 64,
    "kv_lora_rank": 32,
    "q_lora_rank": 32,
    "qk_rope_head_dim": 32,
    "qk_nope_head_dim": 32,
    "v_head_dim": 32,
    "first_k_dense_replace": 1,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "hidden_act": "silu",
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    "n_group": 1,
    "topk_group": 1,
    "rope_scaling": None,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "conv_kernel": 4,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "use_bias": False,
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    "layer_group_size": 2,
    "group_norm_size": 1,
    "use_qk_norm": True,
    "partial_rotary_factor": 0.5,
    "sliding_window_pattern": 2,
    "embedding_multiplier": 1.5,
    "attention_multiplier": 0.2,
    "residual_multiplier": 0.5,
    "logits_scaling": 2.0,
    "conv_bias": False,
    "conv_L_cache": 3,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
    "linear_conv_kernel_dim": 4,
    "dim_model_base": 64,
    "scale_depth": 1.4,
    "scale_emb": 12.0,
    "state_size": 16,
    "use_conv_bias": True,
    "topk_method": "noaux_tc",
    "moe_layer_freq": 1,
    "mla_scale_q_lora": True,
    "mla_scale_kv_lora": True,
    "zero_expert_num": 2,
    "ffn_hidden_size": 64,
}


def model_types() -> list[str]:
    """Every `model_type` that mlx-lm has a module for."""
    import mlx_lm.models

    folder = Path(mlx_lm.models.__file__ or "").parent
    return sorted(file.stem for file in folder.glob("*.py") if "class Model(" in file.read_text(encoding="utf-8"))


def config(model_type: str) -> Config:
    """A config mlx-lm can build: the sizes its arguments name, then `NEEDS`."""
    # mlx-lm's olmo ends the process without a package of its own; localq's is a llama
    module = importlib.import_module(f"mlx_lm.models.{'llama' if model_type == 'olmo' else model_type}")
    names = {field.name for field in dataclasses.fields(module.ModelArgs)}
    own = {name: value for name, value in SIZES.items() if name in names}
    needs = NEEDS.get(model_type, {})
    # With what a folder's config means where it says nothing: mlx-lm would build another model of it
    return completed({"model_type": model_type, **own, **(needs() if callable(needs) else needs)}, [])


def _with_text(inner: str, **more: Any) -> Config:
    return {"text_config": {**config(inner), **more}}


_DEFAULT_ROPE = {kind: {"rope_type": "default", "rope_theta": 1e4} for kind in ("full_attention", "sliding_attention")}
_PLAIN_ROPE = {"rope_type": "default", "rope_theta": 1e4}
_NO_OP = {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 1.0}}

# A function where another type's config is part of it
NEEDS: dict[str, Any] = {
    "afm7": {"num_kv_reuse_layers": 2},
    "apertus": {"post_norm": True, "qk_norm": True, "mlp_bias": True},
    "baichuan_m1": {"sliding_window_layers": [0, 2], "conv_window": 2},
    "dbrx": {
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
    },
    "deepseek_v2": {"rope_scaling": {"factor": 1.0}, "topk_method": "greedy", "n_group": None},
    "dots1": {"scoring_func": "noaux_tc"},
    "exaone_moe": {"is_moe_layer": [False, True, True, True]},
    "exaone4": {"sliding_window_pattern": "LLLG"},
    "falcon_h1": {
        **{"mamba_d_ssm": 256, "mamba_n_heads": 8, "mamba_d_head": 32, "mamba_d_state": 16, "mamba_chunk_size": 32},
        **{"key_multiplier": 0.4, "attention_out_multiplier": 0.9, "lm_head_multiplier": 0.5, "ssm_in_multiplier": 1.2},
        **{"ssm_out_multiplier": 0.3, "mlp_multipliers": [0.9, 0.6], "ssm_multipliers": [0.4, 0.3, 0.4, 0.5, 0.6]},
    },
    "gemma3": lambda: _with_text("gemma3_text"),
    "gemma3_text": {"sliding_window_pattern": 2, "num_hidden_layers": 6},
    "gemma3n": {
        "text_config": {
            **{k: SIZES[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")},
            **{k: SIZES[k] for k in ("head_dim", "rms_norm_eps", "vocab_size", "sliding_window", "rope_theta")},
            "model_type": "gemma3n_text",
            "intermediate_size": 128,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": 320,
            "max_position_embeddings": 256,
            "rope_local_base_freq": 1e4,
            "final_logit_softcapping": 30.0,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "activation_sparsity_pattern": [0.5] * 4,
            "hidden_size_per_layer_input": 32,
            "altup_num_inputs": 4,
            "altup_coef_clip": 120.0,
            "altup_correct_scale": True,
            "altup_active_idx": 0,
            "laurel_rank": 32,
        }
    },
    "gemma4": lambda: _with_text("gemma4_text"),
    "gemma4_text": {
        "global_head_dim": 64,
        "vocab_size_per_layer_input": 320,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 32,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_experts": None,
        "enable_moe_block": False,
        "rope_parameters": {
            "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1e6, "rope_type": "proportional"},
            "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
        },
    },
    "glm_moe_dsa": {
        "index_head_dim": 32,
        "index_n_heads": 2,
        "index_topk": 64,
        "scoring_func": "sigmoid",
        "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"},
    },
    "deepseek_v32": {"index_head_dim": 32, "index_n_heads": 2, "index_topk": 64},
    "gpt_neox": {"rotary_emb_base": 10000, "rotary_pct": 0.5},
    "gpt2": {"n_inner": 512},
    "granitemoehybrid": {
        **{"mamba_n_heads": 8, "mamba_d_head": 32, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_proj_bias": False},
        "mamba_conv_bias": True,
        "position_embedding_type": "rope",
        "layer_types": ["mamba", "attention"] * 2,
    },
    "hunyuan": {
        "use_mixed_mlp_moe": True,
        "use_cla": False,
        "cla_share_factor": 2,
        "num_experts": 4,
        "moe_topk": 2,
        "num_shared_expert": 1,
        "rope_scaling": {"type": "dynamic", "factor": 1.0, "alpha": 1000.0},
    },
    "jamba": {
        **{"attn_layer_offset": 1, "attn_layer_period": 2, "expert_layer_offset": 1, "expert_layer_period": 2},
        **{"mamba_d_state": 16, "mamba_expand": 2, "mamba_dt_rank": 8},
    },
    "kimi_k25": lambda: _with_text("deepseek_v3"),
    "kimi_vl": lambda: _with_text("deepseek_v3"),
    "kimi_k3": {
        "text_config": {
            **{k: SIZES[k] for k in ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_experts")},
            **{k: SIZES[k] for k in ("kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim")},
            **{"v_head_dim": 32, "vocab_size": 320, "num_key_value_heads": 4, "intermediate_size": 128},
            **{"moe_intermediate_size": 64, "num_experts_per_token": 2, "num_shared_experts": 1},
            **{"hidden_act": "situ", "activation_situ_beta": 1.0, "first_k_dense_replace": 1},
            "linear_attn_config": {
                **{"num_heads": 4, "head_dim": 32, "short_conv_kernel_size": 4},
                "kda_layers": [1, 2],
                "full_attn_layers": [3, 4],
            },
        }
    },
    "kimi_linear": {
        "linear_attn_config": {
            **{"num_heads": 4, "head_dim": 32, "short_conv_kernel_size": 4},
            "kda_layers": [1, 2],
            "full_attn_layers": [3, 4],
        },
        "model_max_length": 256,
    },
    "lfm2": {
        **{"block_dim": 128, "block_ff_dim": 128, "block_multiple_of": 32, "block_ffn_dim_multiplier": 1.0},
        "block_auto_adjust_ff_dim": True,
        "layer_types": ["full_attention", "conv"] * 2,
    },
    "lfm2-vl": lambda: _with_text("lfm2"),
    "lfm2_moe": {"use_expert_bias": True, "num_dense_layers": 1, "layer_types": ["full_attention", "conv"] * 2},
    "lille-130m": {"block_size": 256},
    "llama4": lambda: _with_text(
        "llama4_text",
        **{"interleave_moe_layer_step": 1, "num_local_experts": 4, "num_experts_per_tok": 1},
        **{"attention_chunk_size": 64, "attention_bias": False, "max_position_embeddings": 256, "rope_scaling": None},
    ),
    "nemotron": {"hidden_act": "relu2"},
    "llama4_text": {"intermediate_size_mlp": 128, "no_rope_layers": [1, 1, 1, 0]},
    "longcat_flash": {"attention_method": "MLA", "zero_expert_type": "identity", "head_dim": None},
    "mamba": {"time_step_rank": 8, "intermediate_size": 256},
    "mamba2": {
        **{"num_heads": 8, "head_dim": 32, "n_groups": 1, "expand": 2},
        **{"time_step_limit": [0.0, 100.0], "time_step_rank": 8},
    },
    "mellum": {"rope_parameters": _DEFAULT_ROPE},
    "mimo_v2_flash": {
        **{"hybrid_layer_pattern": [0, 1, 0, 1], "moe_layer_freq": [0, 1, 0, 1], "scoring_func": "sigmoid"},
        **{"add_swa_attention_sink_bias": True, "add_full_attention_sink_bias": False, "sliding_window_size": 32},
        **{"swa_rope_theta": 1e3, "swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 32},
        **{"swa_v_head_dim": 32, "routed_scaling_factor": None},
    },
    "minicpm3": {
        "rope_scaling": {"short_factor": [1.0] * 16, "long_factor": [1.0] * 16, "original_max_position_embeddings": 256}
    },
    "minimax": {"rotary_dim": 16},
    "olmo_hybrid": {"linear_allow_neg_eigval": True, "layer_types": ["linear_attention", "full_attention"] * 2},
    "minimax_m3_vl": lambda: {"text_config": {k: v for k, v in config("minimax").items()}},
    "ministral3": {
        "rope_parameters": {**_PLAIN_ROPE, "llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 64}
    },
    "mistral3": lambda: _with_text("llama"),
    "mistral4": {
        "rope_parameters": {**_PLAIN_ROPE, "llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 64}
    },
    "muse_spark": {
        "text_config": {
            **{k: SIZES[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers")},
            **{k: SIZES[k] for k in ("head_dim", "vocab_size", "rms_norm_eps", "layer_types", "sliding_window")},
            **{"post_norm_eps": 1e-8, "rope_parameters": _PLAIN_ROPE, "layer_rope_theta": [0, 1e4, 1e4, 0]},
            **{"final_logit_softcapping": 20.0, "output_multiplier": 0.5, "qk_scale_factor": 1.75},
            **{"num_local_experts": 4, "num_experts_per_tok": 2, "moe_hidden_size": 64, "moe_intermediate_size": 64},
        }
    },
    "nemotron-nas": {"block_configs": [_NO_OP] * 4},
    "nemotron_h": {
        **{"mamba_num_heads": 8, "mamba_head_dim": 32, "mamba_proj_bias": False, "ssm_state_size": 16, "n_groups": 1},
        **{"residual_in_fp32": True, "hybrid_override_pattern": ["M", "*", "-", "M"]},
        "time_step_limit": [0.0, 100.0],
    },
    "openelm": {
        "ffn_dim_divisor": 32,
        "num_query_heads": [4] * 4,
        "num_kv_heads": [2] * 4,
        "ffn_multipliers": [1.0] * 4,
    },
    "gptj": {"rotary_dim": 16},
    "plamo": {"n_shared_head": 2},
    "qwen": {"kv_channels": 32},
    "phi3small": {
        "vocab_size": 100352,
        "dense_attention_every_n_layers": 2,
        "gegelu_limit": 20.0,
        "ff_intermediate_size": 128,
    },
    "phixtral": {
        "model_dim": 128,
        "num_vocab": 320,
        "n_layer": 2,
        "n_head": 4,
        "rotary_dim": 16,
        "num_local_experts": 4,
    },
    "pixtral": lambda: _with_text("llama"),
    "plamo2": {"mamba_num_heads": 4, "mamba_step": 2, "hidden_size_per_head": 32, "mamba_d_state": 16},
    "qwen2_vl": lambda: _with_text("qwen2"),
    "qwen3_5": lambda: _with_text("qwen3_next"),
    "qwen3_5_moe": lambda: _with_text("qwen3_next"),
    "qwen3_vl": lambda: _with_text("qwen3"),
    "qwen3_vl_moe": lambda: _with_text("qwen3_moe"),
    "recurrent_gemma": {
        **{"conv1d_width": 4, "logits_soft_cap": 30.0, "attention_window_size": 64, "lru_width": 128},
        "block_types": ["recurrent", "recurrent", "attention"],
        "embeddings_scale_by_sqrt_dim": True,
    },
    "rwkv7": dict.fromkeys(("a_low_rank_dim", "v_low_rank_dim", "gate_low_rank_dim", "decay_low_rank_dim"), 64),
    "spark2_5": {"rope_parameters": _DEFAULT_ROPE, "hidden_act": "gelu"},
    "stablelm": {"use_qkv_bias": True},
    "step3p5": {"num_attention_groups": 2, "moe_num_experts": 4, "moe_top_k": 2},
}
