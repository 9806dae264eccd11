"""Tiny models with multi-head latent attention (facts: conversion/deepseek.py, conversion/glm.py of llama.cpp)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories.more import GONE, Array, Case, Config

_LATENT: Config = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 64,
    "q_lora_rank": 128,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
}
_EXPERTS: Config = {
    "moe_intermediate_size": 64,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "routed_scaling_factor": 2.5,
}
_YARN: Config = {
    "type": "yarn",
    "factor": 40.0,
    "original_max_position_embeddings": 4096,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}


def keys(c: Config) -> dict[str, Any]:
    """DeepseekV2Model.set_gguf_parameters."""
    out: dict[str, Any] = {
        "attention.head_count_kv": 1,
        "attention.q_lora_rank": c.get("q_lora_rank"),
        "attention.kv_lora_rank": c["kv_lora_rank"],
        "attention.key_length": c["kv_lora_rank"] + c["qk_rope_head_dim"],
        "attention.value_length": c["kv_lora_rank"],
        "attention.key_length_mla": c["qk_nope_head_dim"] + c["qk_rope_head_dim"],
        "attention.value_length_mla": c["v_head_dim"],
        "rope.dimension_count": c["qk_rope_head_dim"],
        "vocab_size": c["vocab_size"],
        "expert_feed_forward_length": c.get("moe_intermediate_size", c["intermediate_size"]),
        "expert_shared_count": c.get("n_shared_experts", 0),
        "leading_dense_block_count": c.get("first_k_dense_replace", c["num_hidden_layers"]),
        "expert_weights_scale": c.get("routed_scaling_factor"),
        "expert_weights_norm": c.get("norm_topk_prob") or None,
    }
    if "index_topk" in c:
        out["attention.indexer.head_count"] = c["index_n_heads"]
        out["attention.indexer.key_length"] = c["index_head_dim"]
        out["attention.indexer.top_k"] = c["index_topk"]
        if c["model_type"] == "glm_moe_dsa":
            kinds = c.get("indexer_types", ["full"] * c["num_hidden_layers"])
            out["attention.indexer.types"] = [kind == "full" for kind in kinds]
    all_dim = (c.get("rope_scaling") or {}).get("mscale_all_dim")
    if all_dim is not None:
        out["rope.scaling.yarn_log_multiplier"] = 0.1 * all_dim
    return out


def halves(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """kv_b_proj by head into keys, transposed, and values."""
    if not name.endswith("kv_b_proj.weight"):
        yield name.replace("e_score_correction_bias", "e_score_correction.bias"), w
        return
    both = w.reshape(c["num_attention_heads"], -1, w.shape[-1])
    nope = c["qk_nope_head_dim"]
    yield name.replace("kv_b_proj", "k_b_proj"), np.ascontiguousarray(both[:, :nope].swapaxes(1, 2))
    yield name.replace("kv_b_proj", "v_b_proj"), np.ascontiguousarray(both[:, nope:])


def published(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """mlx-lm's two absorbed parameters are one matrix in published checkpoints."""
    if name.endswith("unembed_out.weight"):
        rng = np.random.default_rng(len(name) + int(1e6 * abs(float(w.flat[0]))))
        rows = c["num_attention_heads"] * (c["qk_nope_head_dim"] + c["v_head_dim"])
        drawn = rng.standard_normal((rows, c["kv_lora_rank"]), dtype=np.float32)
        yield name.replace("unembed_out", "kv_b_proj"), drawn / np.float32(c["kv_lora_rank"] ** 0.5)
    elif not name.endswith("embed_q.weight"):
        yield name, w


def _without_shared(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    if ".indexer." not in name or c["indexer_types"][int(name.split(".")[2])] == "full":
        yield from published(c, name, w)


def _case(gguf: str = "deepseek2", **config: Any) -> Case:
    return Case(gguf, {**_LATENT, **config}, keys, halves, hugging_face=published)


# Only 12 of the tokens are looked at. With few heads many scores are zero (a ReLU): ties that each breaks its own way
_SPARSE = {"index_n_heads": 16, "index_head_dim": 128, "index_topk": 12, "n_group": 1, "topk_group": 1}
_SIGMOID = {"scoring_func": "sigmoid", "norm_topk_prob": True, "topk_method": "noaux_tc"}
CASES: dict[str, Case] = {
    "deepseek_v2": _case(
        model_type="deepseek_v2",
        **_EXPERTS,
        rope_scaling={**_YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
        scoring_func="softmax",
        topk_method="greedy",
        norm_topk_prob=False,
    ),
    "deepseek_v3": _case(model_type="deepseek_v3", **_EXPERTS, **_SIGMOID, n_group=4, topk_group=2, rope_scaling=_YARN),
    "kimi_k2": _case(model_type="kimi_k2", **_EXPERTS, **_SIGMOID, n_group=1, topk_group=1, rope_theta=50000.0),
    "glm4_moe_lite": _case(
        model_type="glm4_moe_lite",
        **{**_EXPERTS, "n_shared_experts": 1},
        **_SIGMOID,
        n_group=1,
        topk_group=1,
        rms_norm_eps=1e-5,
        rope_theta=1e6,
    ),
    "deepseek_v32": _case(
        "deepseek32", model_type="deepseek_v32", **_EXPERTS, **_SIGMOID, **_SPARSE, rope_scaling=_YARN
    ),
    "glm_moe_dsa": _case(
        "glm-dsa",
        model_type="glm_moe_dsa",
        **_EXPERTS,
        **_SIGMOID,
        **_SPARSE,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        rope_theta=1e6,
    ),
    "glm52": _case(
        "glm-dsa",
        model_type="glm_moe_dsa",
        **{**_EXPERTS, "first_k_dense_replace": 2},
        **_SIGMOID,
        **_SPARSE,
        num_hidden_layers=4,
        indexer_types=["full", "full", "shared", "shared"],
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        rope_theta=1e6,
    )._replace(hugging_face=_without_shared),
    "youtu": _case(model_type="youtu_llm", tie_word_embeddings=True, rope_theta=1.6e6, mlp_bias=GONE),
}
