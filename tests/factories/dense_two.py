"""Tiny models of further attention-only families, and their GGUF layout (facts: llama.cpp's conversion/*.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories.dense_one import windows
from tests.factories.more import GONE, Array, Case, Config
from tests.factories.other import permuted

_LAYER_NORM: Config = {"rms_norm_eps": GONE, "layer_norm_eps": 1e-5}
ROUGH_GELU = 5e-3  # ggml looks GELU up in a table of float16


def _stable_keys(c: Config) -> dict[str, Any]:
    return {
        "rope.dimension_count": int(c["hidden_size"] // c["num_attention_heads"] * c["partial_rotary_factor"]),
        "use_parallel_residual": c["use_parallel_residual"],
        "rope.freq_base": None,
    }


def _heads_stacked(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """A norm per head as one tensor, numbered here as the experts of other models are."""
    yield name.replace("layernorm.norms.", "layernorm.experts."), w


_STABLE: Config = {
    "model_type": "stablelm",
    "use_qkv_bias": True,
    "partial_rotary_factor": 0.25,
    "use_parallel_residual": False,
    **_LAYER_NORM,
}
_STABLE_NAMES = {
    f"model.layers.{{bid}}.self_attn.{x}_layernorm.experts": f"blk.{{bid}}.attn_{x}_norm" for x in ("q", "k")
}


def _three(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """`wqkv` as three matrices."""
    if ".wqkv." not in name:
        yield name, w
        return
    groups, width = c["num_key_value_heads"], c["hidden_size"] // c["num_attention_heads"]
    grouped = w.reshape(groups, -1, width, w.shape[-1])
    for x, part in zip("qkv", (grouped[:, :-2], grouped[:, -2], grouped[:, -1]), strict=True):
        yield name.replace("wqkv", f"w{x}"), np.ascontiguousarray(part.reshape(-1, w.shape[-1]))


def _three_stored(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    heads = {".wq.": c["num_attention_heads"], ".wk.": c["num_key_value_heads"]}
    for part, rows in _three(c, name, w):
        count = next((n for x, n in heads.items() if x in part), 0)
        yield part, permuted(rows, count) if count else rows


_ATTENTION_NAMES = {f"model.layers.{{bid}}.attention.w{x}": f"blk.{{bid}}.attn_{x}" for x in "qkv"}


def _exaone_keys(c: Config) -> dict[str, Any]:
    return {"vocab_size": c["vocab_size"], **(windows(c) if c["sliding_window"] else {})}


_EXAONE: Config = {
    "model_type": "exaone4",
    "head_dim": 64,
    "rope_scaling": None,
    "sliding_window": None,
    "sliding_window_pattern": None,
}
_LARGE: Config = {
    "num_hidden_layers": 64,
    "hidden_size": 64,
    "intermediate_size": 32,
    "head_dim": 16,
    "sliding_window": 8,
    "sliding_window_pattern": "LLLG",
    "layer_types": (["sliding_attention"] * 3 + ["full_attention"]) * 16,
}


def _ernie_keys(c: Config) -> dict[str, Any]:
    return {
        "expert_count": c["moe_num_experts"],
        "interleave_moe_layer_step": c["moe_layer_interval"],
        "leading_dense_block_count": c["moe_layer_start_index"],
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "expert_shared_count": c["moe_num_shared_experts"],
        "expert_shared_feed_forward_length": c["moe_num_shared_experts"] * c["moe_intermediate_size"],
    }


def _ernie_biased(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """Published models have a correction bias beside every router, which mlx-lm leaves out."""
    yield name, w
    if name.endswith("mlp.gate.weight"):
        bias = np.float32(0.2) * np.sin(np.arange(len(w), dtype=np.float32) + w[0, 0])
        yield name.replace("gate.weight", "moe_statics.e_score_correction_bias"), bias.reshape(1, -1)


def _ernie_stored(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    if name.endswith("e_score_correction_bias"):
        yield name.replace("correction_bias", "correction.bias"), w.reshape(-1)
    else:
        yield name, w


def _hunyuan_keys(c: Config) -> dict[str, Any]:
    return {
        "expert_used_count": c["moe_topk"],
        "rope.freq_base": c["rope_theta"] * c["rope_scaling"]["alpha"] ** (64 / 62),
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "expert_shared_count": c["num_shared_expert"],
        "expert_shared_feed_forward_length": c["intermediate_size"],
        "rope.scaling.type": "none",
        "rope.scaling.factor": 1.0,
        "rope.scaling.original_context_length": 262144,
    }


CASES: dict[str, Case] = {
    "starcoder2": Case(
        "starcoder2",
        {"model_type": "starcoder2", "norm_epsilon": 1e-5, "rms_norm_eps": GONE, "tie_word_embeddings": True},
        bound=ROUGH_GELU,
    ),
    "stablelm": Case("stablelm", _STABLE, _stable_keys),
    "stablelm-12b": Case(
        "stablelm",
        {**_STABLE, "use_qkv_bias": False, "use_parallel_residual": True, "qk_layernorm": True},
        _stable_keys,
        _heads_stacked,
        names=_STABLE_NAMES,
    ),
    "internlm2": Case(
        "internlm2",
        {"model_type": "internlm2", "bias": False, "rope_theta": 1e6},
        lambda c: {"rope.dimension_count": 64},
        _three_stored,
        names=_ATTENTION_NAMES,
        shown=_three,
        vocabulary="spm",
    ),
    "exaone4": Case("exaone4", _EXAONE, _exaone_keys),
    "exaone4-32b": Case("exaone4", {**_EXAONE, **_LARGE}, _exaone_keys),
    "ernie4_5": Case(
        "ernie4_5",
        {"model_type": "ernie4_5", "head_dim": 64, "use_bias": False, "tie_word_embeddings": True},
        vocabulary="spm",
    ),
    "ernie4_5-moe": Case(
        "ernie4_5-moe",
        {
            "model_type": "ernie4_5_moe",
            "use_bias": False,
            "moe_num_experts": 8,
            "moe_k": 3,
            "moe_layer_interval": 1,
            "moe_layer_start_index": 1,
            "moe_intermediate_size": 64,
            "moe_num_shared_experts": 2,
            "moe_use_aux_free": True,
        },
        _ernie_keys,
        _ernie_stored,
        hugging_face=_ernie_biased,
        vocabulary="spm",
    ),
    "hunyuan-dense": Case(
        "hunyuan-dense",
        {"model_type": "hunyuan_v1_dense", "head_dim": 64, "use_qk_norm": True, "rope_theta": 5e5},
    ),
    "hunyuan-moe": Case(
        "hunyuan-moe",
        {
            "model_type": "hunyuan_v1_moe",
            "num_experts": 8,
            "moe_topk": 3,
            "num_shared_expert": 1,
            "moe_intermediate_size": 256,
            "tie_word_embeddings": True,
            "use_cla": False,
            "cla_share_factor": 2,
            "use_mixed_mlp_moe": True,
            "use_qk_norm": True,
            "rope_scaling": {"type": "dynamic", "factor": 1.0, "alpha": 1000.0},
        },
        _hunyuan_keys,
    ),
}
