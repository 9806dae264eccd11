"""Tiny Llama 4, and its GGUF layout (facts: llama.cpp's conversion/llama.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories.more import GONE, Array, Case, Config, common_keys


def _llama4(**changes: Any) -> Config:
    gone = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers")
    text = {
        "model_type": "llama4_text",
        "hidden_size": 256,
        "intermediate_size": 64,
        "intermediate_size_mlp": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 5e5,
        "rope_scaling": None,
        "vocab_size": 320,
        "max_position_embeddings": 512,
        "num_local_experts": 8,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": 2,
        "attention_bias": False,
        "attention_chunk_size": 8192,
        "use_qk_norm": True,
        **changes,
    }
    return {"model_type": "llama4", "text_config": text, **dict.fromkeys(gone, GONE)}


def _keys(c: Config) -> dict[str, Any]:
    text = c["text_config"]
    return {
        **common_keys(text),
        "vocab_size": text["vocab_size"],
        "rope.dimension_count": text["head_dim"],
        "feed_forward_length": text["intermediate_size_mlp"],
        "expert_feed_forward_length": text["intermediate_size"],
        "interleave_moe_layer_step": text["interleave_moe_layer_step"],
    }


def _published(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    """Experts lie transposed, gate and up in one stack, drawn here from the values of gate."""
    if ".experts.up_proj" in name:
        return
    if ".experts." in name:
        if "gate_proj" in name:
            w = np.concatenate([w, np.ascontiguousarray(w[::-1, ::-1])], axis=1)
        w, name = np.ascontiguousarray(w.swapaxes(1, 2)), name.replace("gate_proj", "gate_up_proj")
        name = name.removesuffix(".weight")
    yield name, w


def _shown(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        yield name, w
        return
    w = np.ascontiguousarray(w.swapaxes(1, 2))
    if name.endswith("gate_up_proj"):
        gate, up = np.split(w, 2, axis=1)
        yield name.replace("gate_up_proj", "gate_proj.weight"), gate
        yield name.replace("gate_up_proj", "up_proj.weight"), up
    else:
        yield name + ".weight", w


def _stored(c: Config, name: str, w: Array) -> Iterator[tuple[str, Array]]:
    for shown, part in _shown(c, name, w):
        yield shown.replace("language_model.", ""), part


CASES: dict[str, Case] = {
    "llama4-scout": Case("llama4", _llama4(), _keys, _stored, hugging_face=_published, shown=_shown),
    "llama4-maverick": Case(
        "llama4",
        _llama4(num_local_experts=128, intermediate_size=32, hidden_size=64, head_dim=16, use_qk_norm=False),
        _keys,
        _stored,
        hugging_face=_published,
        shown=_shown,
    ),
}
# Compared with transformers: chunks of 8 tokens, temperatures that change with every fourth
CHUNKED = Case(
    "llama4",
    _llama4(attention_chunk_size=8, floor_scale=4, attn_scale=0.1, attn_temperature_tuning=True),
    _keys,
    _stored,
    hugging_face=_published,
    shown=_shown,
)
# Compared with transformers: every layer sees the last 8 tokens
WINDOWED = Case("llama", {"model_type": "mistral", "sliding_window": 8, "head_dim": 64}, hugging_face=_published)
