"""Published models: facts of their public config.json, and the GGUF keys llama.cpp's converter makes of them.

Source of the keys: conversion/base.py `set_gguf_parameters` and the architecture's own file beside it.
"""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

import numpy as np

from localq.formats.ggml_types import GGML_BY_NAME, GGMLType

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_GEMMA = {"rms_norm_eps": 1e-6, "tie_word_embeddings": True}


class Real(NamedTuple):
    """One published model: GGUF architecture, Hugging Face config, and keys only its converter knows."""

    arch: str
    hf: dict[str, Any]
    own: dict[str, Any] = {}


def hf(model_type: str, sizes: tuple[int, ...], **more: Any) -> dict[str, Any]:
    """hidden, layers, inner, heads, key/value heads, vocabulary, positions."""
    names = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    return {
        "model_type": model_type,
        **dict(zip((*names, "vocab_size", "max_position_embeddings"), sizes, strict=True)),
        **more,
    }


REAL = {
    "Llama-2-7B": Real(
        "llama",
        hf("llama", (4096, 32, 11008, 32, 32, 32000, 4096), rms_norm_eps=1e-5, rope_theta=10000.0),
    ),
    "Llama-3.2-1B": Real(
        "llama",
        hf(
            "llama",
            (2048, 16, 8192, 32, 8, 128256, 131072),
            head_dim=64,
            rms_norm_eps=1e-5,
            rope_theta=500000.0,
            tie_word_embeddings=True,
            rope_scaling={**LLAMA3_ROPE, "factor": 32.0},
        ),
    ),
    "Llama-3.1-8B": Real(
        "llama",
        hf(
            "llama",
            (4096, 32, 14336, 32, 8, 128256, 131072),
            rms_norm_eps=1e-5,
            rope_theta=500000.0,
            rope_scaling={**LLAMA3_ROPE, "factor": 8.0},
        ),
    ),
    "Mistral-7B-v0.3": Real(
        "llama",
        hf("llama", (4096, 32, 14336, 32, 8, 32768, 32768), rms_norm_eps=1e-5, rope_theta=1000000.0),
    ),
    "Mistral-Nemo-12B": Real(
        "llama",
        hf("llama", (5120, 40, 14336, 32, 8, 131072, 131072), head_dim=128, rms_norm_eps=1e-5, rope_theta=1e6),
    ),
    "Mixtral-8x7B": Real(
        "llama",
        hf(
            "mixtral",
            (4096, 32, 14336, 32, 8, 32000, 32768),
            rms_norm_eps=1e-5,
            rope_theta=1000000.0,
            num_local_experts=8,
            num_experts_per_tok=2,
        ),
    ),
    "Qwen2.5-7B": Real(
        "qwen2",
        hf("qwen2", (3584, 28, 18944, 28, 4, 152064, 32768), rms_norm_eps=1e-6, rope_theta=1000000.0),
    ),
    "Qwen2.5-7B-YaRN": Real(
        "qwen2",
        hf(
            "qwen2",
            (3584, 28, 18944, 28, 4, 152064, 131072),
            rms_norm_eps=1e-6,
            rope_theta=1000000.0,
            rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        ),
    ),
    "Qwen3-0.6B": Real(
        "qwen3",
        hf(
            "qwen3",
            (1024, 28, 3072, 16, 8, 151936, 40960),
            head_dim=128,
            rms_norm_eps=1e-6,
            rope_theta=1000000,
            tie_word_embeddings=True,
        ),
    ),
    "Qwen3-30B-A3B": Real(
        "qwen3moe",
        hf(
            "qwen3_moe",
            (2048, 48, 6144, 32, 4, 151936, 40960),
            head_dim=128,
            rms_norm_eps=1e-6,
            rope_theta=1000000.0,
            num_experts=128,
            num_experts_per_tok=8,
            moe_intermediate_size=768,
            norm_topk_prob=True,
            decoder_sparse_step=1,
            mlp_only_layers=[],
        ),
        {"expert_feed_forward_length": 768},
    ),
    "gemma-2-2b": Real(
        "gemma2",
        hf(
            "gemma2",
            (2304, 26, 9216, 8, 4, 256000, 8192),
            **_GEMMA,
            head_dim=256,
            rope_theta=10000.0,
            attn_logit_softcapping=50.0,
            final_logit_softcapping=30.0,
            query_pre_attn_scalar=256,
            sliding_window=4096,
        ),
        {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "attention.sliding_window": 4096},
    ),
    "gemma-2-27b": Real(
        "gemma2",
        hf(
            "gemma2",
            (4608, 46, 36864, 32, 16, 256000, 8192),
            **_GEMMA,
            head_dim=128,
            rope_theta=10000.0,
            attn_logit_softcapping=50.0,
            final_logit_softcapping=30.0,
            query_pre_attn_scalar=144,
            sliding_window=4096,
        ),
        {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "attention.sliding_window": 4096},
    ),
    "gemma-3-1b": Real(
        "gemma3",
        hf(
            "gemma3_text",
            (1152, 26, 6912, 4, 1, 262144, 32768),
            **_GEMMA,
            head_dim=256,
            rope_theta=1000000,
            rope_local_base_freq=10000,
            query_pre_attn_scalar=256,
            sliding_window=512,
            sliding_window_pattern=6,
        ),
        {"attention.sliding_window": 512},
    ),
    "gemma-3-27b": Real(
        "gemma3",
        hf(
            "gemma3_text",
            (5376, 62, 21504, 32, 16, 262144, 131072),
            **_GEMMA,
            head_dim=128,
            rope_theta=1000000.0,
            rope_local_base_freq=10000.0,
            query_pre_attn_scalar=168,
            sliding_window=1024,
            sliding_window_pattern=6,
            rope_scaling={"rope_type": "linear", "factor": 8.0},
        ),
        {"attention.sliding_window": 1024, "rope.freq_base_swa": 10000.0},
    ),
    "Phi-3-mini-4k": Real(
        "phi3",
        hf(
            "phi3",
            (3072, 32, 8192, 32, 32, 32064, 4096),
            rms_norm_eps=1e-5,
            rope_theta=10000.0,
            original_max_position_embeddings=4096,
            sliding_window=2047,
        ),
        {"attention.sliding_window": 2047, "rope.scaling.original_context_length": 4096},
    ),
    # The published lists have 48 entries; these have their range and length
    "Phi-3.5-mini": Real(
        "phi3",
        hf(
            "phi3",
            (3072, 32, 8192, 32, 32, 32064, 131072),
            rms_norm_eps=1e-5,
            rope_theta=10000.0,
            original_max_position_embeddings=4096,
            sliding_window=262144,
            rope_scaling={
                "type": "longrope",
                "long_factor": [float(np.float32(1.08 + 1.34 * i)) for i in range(48)],
                "short_factor": [float(np.float32(1.0 + 0.04 * i)) for i in range(48)],
            },
        ),
        {"attention.sliding_window": 262144, "rope.scaling.original_context_length": 4096},
    ),
    "Phi-4-mini": Real(
        "phi3",
        hf(
            "phi3",
            (3072, 32, 8192, 24, 8, 200064, 131072),
            rms_norm_eps=1e-5,
            rope_theta=10000.0,
            partial_rotary_factor=0.75,
            original_max_position_embeddings=4096,
            tie_word_embeddings=True,
            sliding_window=None,
            rope_scaling={
                "type": "longrope",
                "long_factor": [float(np.float32(1.0 + 0.99 * i)) for i in range(48)],
                "short_factor": [1.0] * 48,
            },
        ),
        {"attention.sliding_window": 0, "rope.scaling.original_context_length": 4096},
    ),
    "gpt-oss-20b": Real(
        "gpt-oss",
        hf(
            "gpt_oss",
            (2880, 24, 2880, 64, 8, 201088, 131072),
            head_dim=64,
            rms_norm_eps=1e-5,
            rope_theta=150000,
            num_local_experts=32,
            num_experts_per_tok=4,
            sliding_window=128,
            layer_types=["sliding_attention", "full_attention"] * 12,
            rope_scaling={
                "rope_type": "yarn",
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "original_max_position_embeddings": 4096,
                "truncate": False,
            },
        ),
        {"attention.sliding_window": 128, "expert_feed_forward_length": 2880},
    ),
}


class Stored(NamedTuple):
    shape: tuple[int, ...]
    type: GGMLType
    nbytes: int


def f32(value: float) -> float:
    """As GGUF's 32-bit floats give it back."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def gguf_side(real: Real) -> tuple[dict[str, Any], dict[str, Stored], dict[str, list[float]]]:
    """Keys, tensor list and rope tensors of a model, as converted."""
    c, scaling, values = real.hf, real.hf.get("rope_scaling"), {}
    heads = c["num_attention_heads"]
    head_dim = c.get("head_dim", c["hidden_size"] // heads)
    keys = {
        "block_count": c["num_hidden_layers"],
        "context_length": c["max_position_embeddings"],
        "embedding_length": c["hidden_size"],
        "feed_forward_length": c["intermediate_size"],
        "attention.head_count": heads,
        "attention.head_count_kv": c["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": f32(c["rms_norm_eps"]),
        **{key: f32(value) if isinstance(value, float) else value for key, value in real.own.items()},
    }
    if real.arch != "gemma2":
        keys["rope.freq_base"] = f32(c["rope_theta"])
    if "head_dim" in c:
        keys |= {"attention.key_length": head_dim, "attention.value_length": head_dim}
    if real.arch in ("llama", "phi3"):
        keys |= {"rope.dimension_count": int(c.get("partial_rotary_factor", 1.0) * head_dim)}
    if real.arch == "llama":
        keys |= {"vocab_size": c["vocab_size"]}
    if experts := c.get("num_experts", c.get("num_local_experts")):
        keys |= {"expert_count": experts, "expert_used_count": c["num_experts_per_tok"]}
    if scaling and scaling.get("rope_type") == "llama3":
        values["rope_freqs.weight"] = llama3_divisors(c, head_dim)
    elif scaling and scaling.get("type") == "longrope":
        original = c["original_max_position_embeddings"]
        factor = math.sqrt(1 + math.log(c["max_position_embeddings"] / original) / math.log(original))
        keys["rope.scaling.attn_factor"] = f32(factor)
        values = {f"rope_factors_{k}.weight": scaling[f"{k}_factor"] for k in ("long", "short")}
    elif scaling:
        keys |= {"rope.scaling.type": scaling["rope_type"], "rope.scaling.factor": scaling["factor"]}
        if scaling["rope_type"] == "yarn":
            keys["rope.scaling.original_context_length"] = scaling["original_max_position_embeddings"]
    shapes = {"token_embd.weight": (c["vocab_size"], c["hidden_size"])}
    shapes |= {f"blk.{i}.attn_q.weight": (heads * head_dim, c["hidden_size"]) for i in range(c["num_hidden_layers"])}
    if not c.get("tie_word_embeddings", False):
        shapes["output.weight"] = shapes["token_embd.weight"]
    shapes |= {name: (len(v),) for name, v in values.items()}
    tensors = {name: Stored(shape, GGML_BY_NAME["f32"], 4 * math.prod(shape)) for name, shape in shapes.items()}
    metadata = {"general.architecture": real.arch, "general.name": "x"}
    return {**metadata, **{f"{real.arch}.{key}": value for key, value in keys.items()}}, tensors, values


def llama3_divisors(c: dict[str, Any], head_dim: int) -> list[float]:
    """The published rule (Llama 3.1, `apply_scaling`) in float32, as the converter's torch has it."""
    steps = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    return [one(float(f), c["rope_scaling"]) for f in 1 / (np.float32(c["rope_theta"]) ** steps)]


def one(frequency: float, scaling: dict[str, Any]) -> float:
    original, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    wavelength = np.float32(2 * math.pi / frequency)
    if wavelength < original / high:
        return 1.0
    if wavelength > original / low:
        return factor
    smooth = np.float32((original / wavelength - low) / (high - low))
    return float(np.float32(1 / ((1 - smooth) / factor + smooth)))
