"""Tiny Gemma 3n and 4, and their GGUF layout (facts: llama.cpp's conversion/gemma.py)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories.more import GONE, Array, Case, Config, Weights, common_keys

ROUGH_GELU = 5e-3  # ggml looks GELU up in a table of float16

_GEMMA4: Config = {
    "model_type": "gemma4_text",
    "num_hidden_layers": 4,
    "head_dim": 32,
    "global_head_dim": 64,
    "num_kv_shared_layers": 0,
    "hidden_size_per_layer_input": 0,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "rope_theta": GONE,
    "rope_parameters": {
        "full_attention": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    },
    "attention_k_eq_v": False,
    "use_double_wide_mlp": False,
    "enable_moe_block": False,
    "final_logit_softcapping": 30.0,
    "tie_word_embeddings": True,
    "hidden_activation": "gelu_pytorch_tanh",
}


def _keys4(c: Config) -> dict[str, Any]:
    sliding = [t == "sliding_attention" for t in c["layer_types"]]
    shared, inner = c["num_kv_shared_layers"], c["intermediate_size"]
    both = c.get("num_global_key_value_heads")
    return {
        "attention.shared_kv_layers": shared,
        "embedding_length_per_layer_input": c["hidden_size_per_layer_input"],
        "attention.sliding_window": c["sliding_window"],
        "attention.sliding_window_pattern": sliding,
        "attention.key_length": c["global_head_dim"],
        "attention.value_length": c["global_head_dim"],
        "attention.key_length_swa": c["head_dim"],
        "attention.value_length_swa": c["head_dim"],
        "attention.head_count_kv": [c["num_key_value_heads"] if s else both for s in sliding]
        if both
        else c["num_key_value_heads"],
        "feed_forward_length": [inner] * (len(sliding) - shared) + [2 * inner] * shared
        if c["use_double_wide_mlp"]
        else inner,
        "rope.freq_base": 1e6,
        "rope.freq_base_swa": 1e4,
        "rope.dimension_count": c["global_head_dim"],
        "rope.dimension_count_swa": c["head_dim"],
        "final_logit_softcapping": c["final_logit_softcapping"],
        "expert_used_count": c.get("top_k_experts"),
        "expert_feed_forward_length": c.get("moe_intermediate_size"),
    }


def _divisors(c: Config) -> Weights:
    half = c["global_head_dim"] // 2
    rotated = int(half * c["rope_parameters"]["full_attention"]["partial_rotary_factor"])
    return {"rope_freqs.weight": np.array([1.0] * rotated + [1e30] * (half - rotated), np.float32)}


def _published4(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """Scales around one; gate and up in one stack, drawn here from the values of gate."""
    if name.endswith(("layer_scalar", "router.scale", "per_expert_scale")):
        w = w + np.float32(1)
    if "switch_glu.up_proj" in name:
        return
    if "switch_glu.gate_proj" in name:
        w = np.concatenate([w, np.ascontiguousarray(w[::-1, ::-1])], axis=1)
    name = name.replace("switch_glu.gate_proj.weight", "gate_up_proj")
    yield name.replace("switch_glu.down_proj.weight", "down_proj"), w


def _shown4(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    if name.endswith("experts.gate_up_proj"):
        gate, up = np.split(w, 2, axis=1)
        yield name.replace("gate_up_proj", "switch_glu.gate_proj.weight"), gate
        yield name.replace("gate_up_proj", "switch_glu.up_proj.weight"), up
    else:
        yield name, w


_SCALES4 = {
    "model.layers.{bid}.router.scale": "blk.{bid}.ffn_gate_inp.scale",
    "model.layers.{bid}.router.per_expert_scale": "blk.{bid}.ffn_down_exps.scale",
}


def _case4(**config: Any) -> Case:
    return Case(
        "gemma4",
        {**_GEMMA4, **config},
        _keys4,
        names=_SCALES4,
        hugging_face=_published4,
        shown=_shown4,
        extra=_divisors,
        bound=ROUGH_GELU,
        vocabulary="spm",
    )


# 4 streams, rank 64, 256 per layer, the first 10 layers sparse, 20 with keys of their own: built into llama.cpp
_TYPES3N = (["sliding_attention"] * 4 + ["full_attention"]) * 5
_SPARSE = [0.95] * 10 + [0.0] * 15


def _gemma3n(layers: int, **sizes: int) -> Config:
    gone = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers")
    text = {
        "model_type": "gemma3n_text",
        "hidden_size": 256,
        "intermediate_size": 256,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "rms_norm_eps": 1e-6,
        "vocab_size": 320,
        "num_kv_shared_layers": max(layers - 20, 0),
        "vocab_size_per_layer_input": 320,
        "sliding_window": 8,
        "max_position_embeddings": 512,
        "rope_local_base_freq": 10000.0,
        "rope_theta": 1e6,
        "final_logit_softcapping": 30.0,
        "layer_types": _TYPES3N[:layers],
        "activation_sparsity_pattern": _SPARSE[:layers],
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size_per_layer_input": 256,
        "altup_num_inputs": 4,
        "altup_coef_clip": 120.0,
        "altup_correct_scale": True,
        "altup_active_idx": 0,
        "laurel_rank": 64,
        **sizes,
    }
    return {"model_type": "gemma3n", "text_config": text, "tie_word_embeddings": True, **dict.fromkeys(gone, GONE)}


def _keys3n(c: Config) -> dict[str, Any]:
    text = c["text_config"]
    return {
        **common_keys({k: v for k, v in text.items() if k != "intermediate_size"}),
        "feed_forward_length": [text["intermediate_size"]] * text["num_hidden_layers"],
        "attention.sliding_window": text["sliding_window"],
        "attention.sliding_window_pattern": [t == "sliding_attention" for t in text["layer_types"]],
        "attention.shared_kv_layers": text["num_kv_shared_layers"],
        "activation_sparsity_scale": [
            1.6448533535003662 if s else -math.inf for s in text["activation_sparsity_pattern"]
        ],
        "altup.active_idx": text["altup_active_idx"],
        "altup.num_inputs": text["altup_num_inputs"],
        "embedding_length_per_layer_input": text["hidden_size_per_layer_input"],
        "final_logit_softcapping": text["final_logit_softcapping"],
    }


def _published3n(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    yield name, w + np.float32(1) if name.endswith("correct_output_scale") else w


def _stacked3n(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """The streams' projections as one stack, numbered here as the experts of other models are."""
    name = name.replace("language_model.", "")
    for stream in ("altup_projections.", "altup_unembed_projections."):
        name = name.replace(stream, f"{stream}experts.")
    yield name, w


_NAMES3N = {
    "model.altup_projections.experts": "altup_proj",
    "model.altup_unembed_projections.experts": "altup_unembd_proj",
}


def _case3n(layers: int, **sizes: int) -> Case:
    return Case(
        "gemma3n",
        _gemma3n(layers, **sizes),
        _keys3n,
        _stacked3n,
        names=_NAMES3N,
        hugging_face=_published3n,
        bound=ROUGH_GELU,
        vocabulary="spm",
    )


CASES: dict[str, Case] = {
    "gemma3n": _case3n(5),
    "gemma4-e2b": _case4(
        num_kv_shared_layers=2,
        hidden_size_per_layer_input=32,
        vocab_size_per_layer_input=320,
        use_double_wide_mlp=True,
        num_key_value_heads=1,
    ),
    "gemma4-31b": _case4(attention_k_eq_v=True, num_global_key_value_heads=1),
    "gemma4-26b-a4b": _case4(
        attention_k_eq_v=True,
        num_global_key_value_heads=1,
        enable_moe_block=True,
        num_experts=8,
        top_k_experts=2,
        moe_intermediate_size=64,
    ),
}
# Compared with transformers: in llama.cpp 20 layers have keys of their own, here 5 of 10
SHARED = _case3n(10, hidden_size=64, intermediate_size=512, head_dim=32, num_attention_heads=2, num_kv_shared_layers=5)
