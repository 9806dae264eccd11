"""What a config means that leaves keys out: its author's values, which mlx-lm's architectures do not all share.

transformers leaves out of a nested `text_config` whatever is its class's default, and older writers left out more. The
values here are those of transformers 5.23's config classes (models/*/configuration_*.py), wherever mlx-lm 0.32 would
take another; by them the config of a folder is completed when it is opened. A GGUF file has keys of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_DEEPSEEK = {
    "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048,
    "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128, "routed_scaling_factor": 2.5,
    "n_group": 8, "topk_group": 4, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
}  # fmt: skip
DEFAULTS: dict[str, dict[str, Any]] = {  # model_type -> key -> value
    "afmoe": {
        "moe_intermediate_size": 1408, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 128,
        "max_position_embeddings": 16384, "num_experts": 64, "num_experts_per_tok": 6, "num_shared_experts": 2,
        "num_dense_layers": 1, "route_scale": 1.0, "sliding_window": 1024, "mup_enabled": False,
    },
    "bitnet": {"rope_theta": 500000.0},
    "cohere": {"rope_theta": 500000.0},
    "cohere2": {
        "rope_theta": 10000.0, "hidden_size": 8192, "num_hidden_layers": 40, "intermediate_size": 22528,
        "num_attention_heads": 64, "num_key_value_heads": 64,
    },
    "deepseek_v2": {"num_hidden_layers": 32},
    "deepseek_v3": {**_DEEPSEEK, "max_position_embeddings": 4096},
    "deepseek_v32": {**_DEEPSEEK, "max_position_embeddings": 163840},
    "ernie4_5_moe": {
        "moe_layer_start_index": 1, "moe_k": 6, "moe_num_shared_experts": 2, "moe_intermediate_size": 1536,
    },
    "exaone_moe": {"rope_theta": 10000.0},
    "falcon_h1": {
        "attention_out_multiplier": 1.0, "embedding_multiplier": 1.0, "key_multiplier": 1.0, "lm_head_multiplier": 1.0,
        "mlp_multipliers": [1.0, 1.0], "ssm_in_multiplier": 1.0, "ssm_out_multiplier": 1.0,
        "ssm_multipliers": [1.0, 1.0, 1.0, 1.0, 1.0], "rope_theta": 10000.0, "mamba_chunk_size": 256,
        "mamba_d_ssm": 1024, "mamba_d_state": 256, "mamba_n_heads": 128, "mamba_norm_before_gate": True,
        "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 8192, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128000,
    },
    "gemma2": {"query_pre_attn_scalar": 256},
    "gemma3_text": {
        "sliding_window": 4096, "hidden_size": 2304, "intermediate_size": 9216, "num_attention_heads": 8,
        "num_key_value_heads": 4, "vocab_size": 262208, "max_position_embeddings": 131072,
    },
    "gemma4_text": {
        "num_kv_shared_layers": 0, "final_logit_softcapping": None, "use_double_wide_mlp": False, "hidden_size": 2304,
        "num_hidden_layers": 30, "intermediate_size": 9216, "num_key_value_heads": 4,
    },
    "glm": {"attention_bias": True},
    "glm4": {"max_position_embeddings": 131072},
    "glm4_moe_lite": {"rope_theta": 10000.0},
    "granitemoehybrid": {"position_embedding_type": "nope"},  # transformers has None, and no rope then
    "hunyuan_v1_dense": {"max_position_embeddings": 2048},
    "kimi_linear": {"num_experts_per_token": 8, "num_shared_experts": 1, "routed_scaling_factor": 2.446},
    "laguna": {"max_position_embeddings": 131072},
    "minicpm3": {"rope_theta": 10000.0},
    "muse_glimmer": {"rope_theta": 10000.0},
    "phi": {"hidden_size": 2048, "num_hidden_layers": 24, "intermediate_size": 8192},
    "phi3": {"max_position_embeddings": 4096},
    "phimoe": {"rms_norm_eps": 1e-5, "rope_theta": 1000000.0},
    "qwen2": {"rope_theta": 10000.0},
    "qwen2_moe": {"rope_theta": 10000.0},
    "qwen3_5_text": {
        "intermediate_size": 12288, "num_attention_heads": 16, "vocab_size": 248320, "num_key_value_heads": 4,
        "max_position_embeddings": 32768, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
    },
    "qwen3_5_moe_text": {
        "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16, "vocab_size": 248320,
        "num_key_value_heads": 2, "max_position_embeddings": 32768, "linear_num_value_heads": 32,
        "linear_key_head_dim": 128, "num_experts": 256, "num_experts_per_tok": 8,
        "shared_expert_intermediate_size": 512, "moe_intermediate_size": 512,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
    },
    "qwen3_next": {"norm_topk_prob": True},
    "seed_oss": {"attention_bias": True},
    "smollm3": {"rope_theta": 2000000.0},
    "starcoder2": {"rope_theta": 10000.0},
}  # fmt: skip
# Whether embedding and head are one, where mlx-lm takes the contrary for granted
TIED = {
    **dict.fromkeys(
        ("bitnet", "falcon_h1", "glm", "granite", "granitemoe", "granitemoehybrid", "jamba", "llama", "ministral3"),
        False,
    ),
    **dict.fromkeys(("mistral", "olmo", "olmo2", "olmoe", "qwen2", "seed_oss"), False),
    "minicpm3": True,
}
_SCALED = ("exaone4", "glm4_moe")  # of these mlx-lm wants a `rope_scaling`; transformers 5 writes none
_GRANITE = {"linear_attention": "mamba", "full_attention": "attention"}  # transformers 5's words: the older ones
# Architectures that know a window in every layer but each n-th, and not a list of layers
PATTERNED = ("cohere2", "gemma3_text")
_SLIDING = "sliding_attention"


def completed(config: Mapping[str, Any], stored: Collection[str]) -> dict[str, Any]:
    """A folder's config with the keys it leaves out, where the architecture would take other values for them.

    Args:
        config: of config.json; a `text_config` in it is completed as well.
        stored: names of all arrays. A head that the config says nothing about is the embedding if there is no other.
    """
    full = {key: _plain(value) for key, value in config.items()}
    model_type = str(full.get("model_type"))
    rope = full.get("rope_parameters")
    based = isinstance(rope, Mapping) and ("rope_theta" in rope or any(isinstance(v, Mapping) for v in rope.values()))
    for key, value in DEFAULTS.get(model_type, {}).items():
        if key not in full and not (key == "rope_theta" and based):
            full[key] = value
    if model_type in TIED and "tie_word_embeddings" not in full:
        headed = any("lm_head." in name for name in stored)
        full["tie_word_embeddings"] = TIED[model_type] or not headed
    _spell(full, model_type)
    text = full.get("text_config")
    if isinstance(text, Mapping):
        said = {k: full[k] for k in ("tie_word_embeddings",) if k in full and k not in text}
        full["text_config"] = completed({**text, **said}, stored)
    return full


def _spell(full: dict[str, Any], model_type: str) -> None:
    """Give what transformers 5 writes in another way in the words that mlx-lm's architectures know, too."""
    if model_type in _SCALED:
        full.setdefault("rope_scaling", None)
    kinds = full.get("layer_types")
    kinds = [str(kind) for kind in kinds] if isinstance(kinds, list) else []
    if model_type == "granitemoehybrid" and kinds:
        full["layer_types"] = [_GRANITE.get(kind, kind) for kind in kinds]
    elif model_type in PATTERNED and kinds and "sliding_window_pattern" not in full:
        whole = [i + 1 for i, kind in enumerate(kinds) if kind != _SLIDING]
        full["sliding_window_pattern"] = whole[0] if whole else len(kinds) + 1
    elif model_type == "exaone4" and not isinstance(full.get("sliding_window_pattern"), str):
        windowed = kinds and full.get("sliding_window") is not None  # else all layers are full, and all have ropes
        told = "".join("L" if kind == _SLIDING else "G" for kind in kinds)
        full["sliding_window_pattern"] = told if windowed else None


def _plain(value: Any) -> Any:
    """transformers 5 writes infinity, which JSON has not, as an object."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict) and set(value) == {"__float__"} and value["__float__"] in ("Infinity", "-Infinity"):
        return float(value["__float__"])
    return value
