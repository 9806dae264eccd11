"""Tiny models of the older architectures: GPT-2 and kin, Gemma, Phi, Command R (facts: llama.cpp's conversion/*.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories.more import GONE, Array, Case, Config, Weights
from tests.factories.other import llama_rows


def _plus_one(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield name, w + np.float32(1) if name.endswith("norm.weight") else w


def _rotated(c: Config) -> int:
    return int(c["partial_rotary_factor"] * c["hidden_size"]) // int(c["num_attention_heads"])


_GPT: Config = {
    "n_embd": 256,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "n_ctx": 128,
    "n_inner": 1024,
    "layer_norm_epsilon": 1e-5,
    "attention_bias": GONE,
    **dict.fromkeys(("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"), GONE),
    **dict.fromkeys(("num_hidden_layers", "max_position_embeddings", "rms_norm_eps", "rope_theta"), GONE),
}


def _gpt2_map(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """mlx-lm's names without the prefix are Hugging Face's; the matrices lie there the other way round."""
    yield name.removeprefix("model."), w


def _neox_published(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    name = name.removeprefix("model.").replace("h.", "layers.", 1) if name.startswith("model.h.") else name
    name = name.removeprefix("model.")
    yield name if name.startswith("embed_out") else f"gpt_neox.{name}", w


def _neox_rows(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    if "query_key_value" in name:
        w = w.reshape(c["num_attention_heads"], 3, -1, *w.shape[1:]).swapaxes(0, 1).reshape(w.shape)
    yield name, w


_NEOX: Config = {
    "model_type": "gpt_neox",
    "intermediate_size": 1024,
    "rotary_pct": 0.25,
    "rotary_emb_base": 10000,
    "layer_norm_eps": 1e-5,
    "use_parallel_residual": True,
    **dict.fromkeys(("rms_norm_eps", "rope_theta", "num_key_value_heads"), GONE),
}
_OPENELM: Config = {
    "model_type": "openelm",
    "head_dim": 64,
    "num_transformer_layers": 2,
    "model_dim": 256,
    "max_context_length": 512,
    "ffn_dim_divisor": 256,
    "num_query_heads": [4, 8],
    "num_kv_heads": [2, 4],
    "ffn_multipliers": [1.0, 2.0],
    "rms_norm_eps": 1e-6,
    "rope_freq_constant": 10000,
    "share_input_output_layers": True,
    **dict.fromkeys(("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"), GONE),
    **dict.fromkeys(("num_hidden_layers", "max_position_embeddings", "rope_theta"), GONE),
}


def _openelm_keys(c: Config) -> dict[str, Any]:
    return {
        "feed_forward_length": [int(m * c["model_dim"]) for m in c["ffn_multipliers"]],
        "attention.head_count": c["num_query_heads"],
        "attention.head_count_kv": c["num_kv_heads"],
        "rope.freq_base": float(c["rope_freq_constant"]),
        "rope.dimension_count": c["head_dim"],
    }


def _openelm_rows(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    if not name.endswith("proj_1.weight"):
        yield name, w
        return
    gate, up = np.split(w, 2)
    stem = name.removesuffix("transformer.layers.").replace("transformer.", "model.").removesuffix("ffn.proj_1.weight")
    yield f"{stem}mlp.gate_proj.weight", gate
    yield f"{stem}mlp.up_proj.weight", up


_LLAMA3: Config = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def _llama3_factors(c: Config) -> Weights:
    scaling, width = c["rope_scaling"], c["hidden_size"] // c["num_attention_heads"]
    wavelengths = 2 * np.pi * c["rope_theta"] ** (np.arange(0, width, 2) / width)
    turns = scaling["original_max_position_embeddings"] / wavelengths
    smooth = np.clip((turns - scaling["low_freq_factor"]) / 3.0, 0, 1)
    return {"rope_freqs.weight": (1 / ((1 - smooth) / scaling["factor"] + smooth)).astype(np.float32)}


_LAYER_NORM: Config = {"rms_norm_eps": GONE, "layer_norm_eps": 1e-5}
ROUGH_GELU = 5e-3  # ggml looks GELU up in a table of float16

# The activation's numbers in layer i
_XIELU = {
    "alpha_p": lambda i: 0.25 + 0.5 * i,
    "alpha_n": lambda i: -0.5 + 0.25 * i,
    "beta": lambda i: 0.5,
    "eps": lambda i: -0.0009765625,
}


def _xielu_numbers(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    *_, layer, _mlp, module, number = ("", "", "", *name.split("."))
    if module == "act_fn":
        value = _XIELU[number](int(layer))
        w = np.array([value] if number.startswith("alpha") else value, np.float32)
    yield name, w


CASES: dict[str, Case] = {
    "gemma": Case(
        "gemma",
        {"model_type": "gemma", "head_dim": 64, "tie_word_embeddings": True, "hidden_act": "gelu_pytorch_tanh"},
        lambda c: {"rope.freq_base": None},
        _plus_one,
        bound=ROUGH_GELU,
        vocabulary="spm",
    ),
    "nemotron": Case(
        "nemotron",
        {
            "model_type": "nemotron",
            "hidden_act": "relu2",
            "partial_rotary_factor": 0.5,
            "norm_eps": 1e-5,
            "rms_norm_eps": GONE,
        },
        lambda c: {
            "attention.layer_norm_rms_epsilon": 1e-5,
            "attention.layer_norm_epsilon": 1e-5,
            "rope.dimension_count": _rotated(c),
            "rope.scaling.type": "none",
        },
        _plus_one,
    ),
    "gpt2": Case(
        "gpt2",
        {"model_type": "gpt2", **_GPT, "tie_word_embeddings": True},
        lambda c: {"feed_forward_length": 4 * c["n_embd"]},
        _gpt2_map,
        bound=ROUGH_GELU,
    ),
    "starcoder": Case(
        "starcoder",
        {"model_type": "gpt_bigcode", **_GPT, "tie_word_embeddings": True},
        lambda c: {"attention.head_count_kv": 1},
        bound=ROUGH_GELU,
    ),
    "gptneox": Case(
        "gptneox",
        _NEOX,
        lambda c: {
            "rope.dimension_count": int(c["rotary_pct"] * 64),
            "use_parallel_residual": c["use_parallel_residual"],
        },
        _neox_rows,
        hugging_face=_neox_published,
        bound=ROUGH_GELU,
    ),
    "phi2": Case(
        "phi2",
        {
            "model_type": "phi",
            "partial_rotary_factor": 0.5,
            "num_key_value_heads": 4,
            "intermediate_size": 1024,
            **_LAYER_NORM,
        },
        lambda c: {"rope.dimension_count": _rotated(c), "rope.freq_base": None},
        bound=ROUGH_GELU,
    ),
    "olmoe": Case(
        "olmoe",
        {
            "model_type": "olmoe",
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "norm_topk_prob": False,
            "rms_norm_eps": 1e-5,
            "num_key_value_heads": 4,
        },
    ),
    "openelm": Case("openelm", _OPENELM, _openelm_keys, _openelm_rows, vocabulary="spm"),
    "exaone": Case(
        "exaone",
        {
            "model_type": "exaone",
            "num_layers": 2,
            "layer_norm_epsilon": 1e-5,
            "rms_norm_eps": GONE,
            "activation_function": "silu",
            "rope_theta": 500000.0,
            "rope_scaling": _LLAMA3,
        },
        lambda c: {"rope.dimension_count": 64, "attention.layer_norm_rms_epsilon": c["layer_norm_epsilon"]},
        extra=_llama3_factors,
    ),
    "command-r": Case(
        "command-r",
        {"model_type": "cohere", "logit_scale": 0.0625, "tie_word_embeddings": True, **_LAYER_NORM},
        lambda c: {"logit_scale": c["logit_scale"], "rope.scaling.type": "none"},
    ),
    "command-r-plus": Case(
        "command-r",
        {"model_type": "cohere", "logit_scale": 0.8, "use_qk_norm": True, "tie_word_embeddings": True, **_LAYER_NORM},
        lambda c: {"logit_scale": c["logit_scale"], "rope.scaling.type": "none"},
        llama_cpp=False,  # it looks for these norms from 64 layers on
    ),
    "qwen": Case(
        "qwen",
        {
            "model_type": "qwen",
            "kv_channels": 64,
            "intermediate_size": 512,
            "layer_norm_epsilon": 1e-6,
            "rms_norm_eps": GONE,
            "num_key_value_heads": GONE,
            "no_bias": True,
        },
        lambda c: {"attention.layer_norm_rms_epsilon": c["layer_norm_epsilon"], "rope.dimension_count": 64},
    ),
    "chatglm": Case(
        "chatglm",
        {
            "model_type": "glm",
            "head_dim": 64,
            "attention_bias": True,
            "partial_rotary_factor": 0.5,
            "rms_norm_eps": 1.5625e-07,
        },
        lambda c: {"rope.dimension_count": 32, "attention.key_length": None, "attention.value_length": None},
    ),
    "xverse": Case(
        "xverse", {"model_type": "xverse", "num_key_value_heads": 4}, lambda c: {"rope.dimension_count": 64}, llama_rows
    ),
    "apertus": Case(
        "apertus",
        {
            "model_type": "apertus",
            "mlp_bias": False,
            "post_norm": False,
            "qk_norm": True,
            "rope_theta": 500000.0,
            "rope_scaling": _LLAMA3,
            "hidden_act": "xielu",
        },
        lambda c: {
            "rope.dimension_count": 64,
            **{
                f"xielu.{number}": [value(i) for i in range(c["num_hidden_layers"])] for number, value in _XIELU.items()
            },
        },
        lambda c, name, w: [] if ".act_fn." in name else [(name, w)],
        hugging_face=_xielu_numbers,
        extra=_llama3_factors,
        shown=lambda c, name, w: [] if ".act_fn." in name else [(name, w)],
    ),
}
