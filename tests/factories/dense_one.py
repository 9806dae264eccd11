"""Tiny models of attention-only families in wide use, and their GGUF layout (facts: llama.cpp's conversion/*.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories.more import GONE, Array, Case, Config
from tests.factories.other import llama_rows

_LAYER_NORM: Config = {"rms_norm_eps": GONE, "layer_norm_eps": 1e-5}
_SLIDING = ["sliding_attention"] * 3 + ["full_attention"]


def _shared_gate(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield name, w.reshape(-1) if name.endswith("shared_expert_gate.weight") else w


def _correction(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield name.replace("correction_bias", "correction.bias"), w


def windows(c: Config) -> dict[str, Any]:
    return {
        "attention.sliding_window": c["sliding_window"],
        "attention.sliding_window_pattern": [t == "sliding_attention" for t in c["layer_types"]],
    }


def _partial(c: Config) -> dict[str, Any]:
    return {"rope.dimension_count": int(c["head_dim"] * c["partial_rotary_factor"])}


def _glm_moe_keys(c: Config) -> dict[str, Any]:
    return {
        **_partial(c),
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "expert_shared_count": c["n_shared_experts"],
        "leading_dense_block_count": c["first_k_dense_replace"],
        "expert_gating_func": 2,
        "expert_weights_scale": c["routed_scaling_factor"],
        "expert_weights_norm": c["norm_topk_prob"],
    }


_GLM_MOE: Config = {
    "model_type": "glm4_moe",
    "head_dim": 64,
    "partial_rotary_factor": 0.5,
    "moe_intermediate_size": 64,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 2.5,
    "norm_topk_prob": True,
    "n_group": 1,
    "topk_group": 1,
    "use_qk_norm": True,
    "rope_scaling": None,
}


def _w(name: str) -> str:
    for mine, theirs in (("gate_proj", "w1"), ("down_proj", "w2"), ("up_proj", "w3")):
        name = name.replace(mine, theirs)
    return name


def _mixtral_names(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield _w(name) if ".experts." in name else name, w


_YARN: Config = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
}
_MIXTRAL_NAMES = {
    f"model.layers.{{bid}}.block_sparse_moe.experts.{w}": f"blk.{{bid}}.ffn_{x}_exps"
    for w, x in (("w1", "gate"), ("w2", "down"), ("w3", "up"))
}


_SCALES: Config = {
    "attention_multiplier": 0.2,
    "embedding_multiplier": 12.0,
    "residual_multiplier": 0.22,
    "logits_scaling": 8.0,
}


def _granite_keys(c: Config) -> dict[str, Any]:
    return {
        "vocab_size": c["vocab_size"],
        "rope.dimension_count": c["hidden_size"] // c["num_attention_heads"],
        "attention.scale": c["attention_multiplier"],
        "embedding_scale": c["embedding_multiplier"],
        "residual_scale": c["residual_multiplier"],
        "logit_scale": c["logits_scaling"],
    }


def _granite_fused(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """Published: gate and up in one stack, drawn here from the values of gate."""
    if "switch_mlp.up_proj" in name:
        return
    if "switch_mlp.gate_proj" in name:
        w = np.concatenate([w, np.ascontiguousarray(w[::-1, ::-1])], axis=1)
    yield name.replace("switch_mlp.gate_proj", "input_linear").replace("switch_mlp.down_proj", "output_linear"), w


def _granite_apart(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """GGUF, mlx-lm and localq keep the two apart."""
    if name.endswith("input_linear.weight"):
        gate, up = np.split(w, 2, axis=1)
        yield name.replace("input_linear", "switch_mlp.gate_proj"), gate
        yield name.replace("input_linear", "switch_mlp.up_proj"), up
    else:
        yield name.replace("output_linear", "switch_mlp.down_proj"), w


def _granite_stored(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    for apart, part in _granite_apart(c, name, w):
        yield from llama_rows(c, apart, part)


_GRANITE_MOE_NAMES = {
    f"model.layers.{{bid}}.block_sparse_moe.switch_mlp.{x}_proj": f"blk.{{bid}}.ffn_{x}_exps"
    for x in ("gate", "up", "down")
}

CASES: dict[str, Case] = {
    "smollm3": Case(
        "smollm3",
        {"model_type": "smollm3", "num_hidden_layers": 4, "tie_word_embeddings": True, "rope_theta": 5e6},
        lambda c: {"vocab_size": c["vocab_size"], "rope.dimension_count": 64},
        llama_rows,
    ),
    "qwen2moe": Case(
        "qwen2moe",
        {
            "model_type": "qwen2_moe",
            "moe_intermediate_size": 64,
            "shared_expert_intermediate_size": 128,
            "num_experts": 8,
            "num_experts_per_tok": 3,
            "rope_theta": 1e6,
        },
        lambda c: {
            "expert_feed_forward_length": c["moe_intermediate_size"],
            "expert_shared_feed_forward_length": c["shared_expert_intermediate_size"],
        },
        _shared_gate,
    ),
    "glm4": Case(
        "glm4",
        {"model_type": "glm4", "head_dim": 64, "partial_rotary_factor": 0.5, "attention_bias": True},
        _partial,
    ),
    "glm4moe": Case("glm4moe", {**_GLM_MOE, "attention_bias": True}, _glm_moe_keys, _correction),
    "glm4moe-plain": Case("glm4moe", {**_GLM_MOE, "use_qk_norm": False}, _glm_moe_keys, _correction),
    "minimax-m2": Case(
        "minimax-m2",
        {
            "model_type": "minimax_m2",
            "head_dim": 64,
            "rotary_dim": 32,
            "num_local_experts": 8,
            "num_experts_per_tok": 3,
            "shared_intermediate_size": 0,
            "scoring_func": "sigmoid",
            "use_qk_norm": True,
        },
        lambda c: {
            "expert_feed_forward_length": c["intermediate_size"],
            "rope.dimension_count": c["rotary_dim"],
        },
        _correction,
        hugging_face=_mixtral_names,
    ),
    "qwen3moe-yarn": Case(
        "qwen3moe",
        {
            "model_type": "qwen3_moe",
            "head_dim": 64,
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "rope_scaling": _YARN,
        },
        lambda c: {"expert_feed_forward_length": c["moe_intermediate_size"]},
    ),
    "mixtral-yarn": Case(
        "llama",
        {
            "model_type": "mixtral",
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "rope_scaling": _YARN,
            "max_position_embeddings": 256,
        },
        lambda c: {"rope.dimension_count": 64, "vocab_size": c["vocab_size"]},
        llama_rows,
        names=_MIXTRAL_NAMES,
        hugging_face=_mixtral_names,
    ),
    "glm4-yarn": Case(
        "glm4",
        {"model_type": "glm4", "head_dim": 64, "partial_rotary_factor": 0.5, "rope_scaling": _YARN},
        _partial,
    ),
    "glm4moe-yarn": Case("glm4moe", {**_GLM_MOE, "rope_scaling": _YARN}, _glm_moe_keys, _correction),
    "olmo2": Case("olmo2", {"model_type": "olmo2", "rope_theta": 5e5}),
    "olmo3": Case(
        "olmo2",
        {
            "model_type": "olmo3",
            "num_hidden_layers": 4,
            "num_key_value_heads": 4,
            "rope_theta": 5e5,
            "sliding_window": 8,
            "layer_types": _SLIDING,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": 8.0,
                "original_max_position_embeddings": 64,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
            },
        },
        windows,
    ),
    "granite": Case(
        "granite",
        {"model_type": "granite", **_SCALES, "mlp_bias": False, "tie_word_embeddings": True},
        _granite_keys,
        llama_rows,
    ),
    "granitemoe": Case(
        "granitemoe",
        {"model_type": "granitemoe", **_SCALES, "num_local_experts": 8, "num_experts_per_tok": 3},
        _granite_keys,
        _granite_stored,
        names=_GRANITE_MOE_NAMES,
        hugging_face=_granite_fused,
        shown=_granite_apart,
    ),
    "seed_oss": Case(
        "seed_oss",
        {
            "model_type": "seed_oss",
            "head_dim": 128,
            "attention_bias": True,
            "attention_out_bias": False,
            "mlp_bias": False,
            "rope_theta": 1e7,
        },
    ),
    "seed_oss-tied": Case(
        "seed_oss",
        {
            "model_type": "seed_oss",
            "head_dim": 64,
            "attention_out_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": True,
        },
    ),
    "cohere2": Case(
        "cohere2",
        {
            "model_type": "cohere2",
            "num_hidden_layers": 4,
            "head_dim": 64,
            "logit_scale": 0.25,
            "sliding_window": 8,
            "sliding_window_pattern": 4,
            "tie_word_embeddings": True,
            **_LAYER_NORM,
        },
        lambda c: {
            "logit_scale": c["logit_scale"],
            "attention.sliding_window": c["sliding_window"],
            "vocab_size": c["vocab_size"],
            "rope.dimension_count": 64,
            "rope.scaling.type": "none",
            "attention.key_length": None,
            "attention.value_length": None,
        },
    ),
}
