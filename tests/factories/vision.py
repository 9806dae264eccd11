"""Text parts of models that also see, as GGUF keeps them (facts: conversion/{qwenvl,qwen3vl,mistral3}.py)."""

from __future__ import annotations

from typing import Any

from tests.factories.more import Case, Config
from tests.factories.other import llama_rows

# Every frequency in one of the three axes: for those left over llama.cpp takes a fourth position, which text has not
_SECTIONS = [12, 10, 10, 0]


def _ministral_keys(c: Config) -> dict[str, Any]:
    rope = c["rope_parameters"]
    return {
        "rope.dimension_count": c["head_dim"],
        "rope.freq_base": rope["rope_theta"],
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": rope["factor"],
        "rope.scaling.original_context_length": rope["original_max_position_embeddings"],
        "rope.scaling.yarn_beta_fast": rope["beta_fast"],
        "rope.scaling.yarn_beta_slow": rope["beta_slow"],
        "rope.scaling.yarn_log_multiplier": rope["mscale_all_dim"],
        "attention.temperature_scale": rope["llama_4_scaling_beta"],
    }


CASES: dict[str, Case] = {
    "qwen2vl": Case("qwen2vl", {"model_type": "qwen2"}, lambda c: {"rope.dimension_sections": _SECTIONS}),
    "qwen3vl": Case(
        "qwen3vl",
        {"model_type": "qwen3", "head_dim": 64, "tie_word_embeddings": True},
        lambda c: {"rope.dimension_sections": _SECTIONS, "n_deepstack_layers": 3},
    ),
    "qwen3vlmoe": Case(
        "qwen3vlmoe",
        {
            "model_type": "qwen3_moe",
            "head_dim": 64,
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 64,
            "norm_topk_prob": True,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
        },
        lambda c: {
            "rope.dimension_sections": _SECTIONS,
            "n_deepstack_layers": 3,
            "expert_feed_forward_length": c["moe_intermediate_size"],
        },
    ),
    "mistral_small": Case(
        "mistral3", {"model_type": "llama", "head_dim": 64}, lambda c: {"rope.dimension_count": 64}, llama_rows
    ),
    "ministral3": Case(
        "mistral3",
        {
            "model_type": "ministral3",
            "head_dim": 64,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1e6,
                "factor": 16.0,
                "original_max_position_embeddings": 16,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
                "llama_4_scaling_beta": 0.1,
            },
        },
        _ministral_keys,
        llama_rows,
    ),
}
