"""Tiny models with recurrent layers, and their GGUF layout (facts: llama.cpp's conversion/*.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories.more import GONE, Array, Case, Config

Named = Iterator[tuple[str, Array]]


def decays(w: Array) -> Array:
    """`A_log` whose -exp() and back is exact in float32: slow decays, so that states last."""
    return np.asarray(-2.5 + np.clip(w, -0.4, 0.4), np.float32)


def minus_exp(w: Array) -> Array:
    """-exp(w), correctly rounded."""
    return np.asarray(-np.exp(w.astype(np.float64)), np.float32)


def published(c: Config, name: str, w: Array) -> Named:
    """Convolutions as torch has them, `[channels, 1, taps]`, and decays that make states last."""
    if "conv" in name and w.ndim == 3:
        yield name, np.ascontiguousarray(w.swapaxes(1, 2)) / np.float32(2)
    else:
        yield name, decays(w) if name.endswith("A_log") else w


_DELTA: Config = {
    "num_hidden_layers": 3,
    "head_dim": 64,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 3,
}
_EXPERTS: Config = {
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 128,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
}


def _delta_keys(c: Config) -> dict[str, Any]:
    """Qwen3NextModel.set_gguf_parameters."""
    return {
        "ssm.conv_kernel": c["linear_conv_kernel_dim"],
        "ssm.state_size": c["linear_key_head_dim"],
        "ssm.group_count": c["linear_num_key_heads"],
        "ssm.time_step_rank": c["linear_num_value_heads"],
        "ssm.inner_size": c["linear_value_head_dim"] * c["linear_num_value_heads"],
        "full_attention_interval": c["full_attention_interval"],
        "rope.dimension_count": int(c["head_dim"] * 0.25),
        "expert_feed_forward_length": c.get("moe_intermediate_size"),
        "expert_shared_feed_forward_length": c.get("shared_expert_intermediate_size"),
    }


def _delta_values(name: str, w: Array) -> tuple[str, Array]:
    if name.endswith(".A_log"):
        return name, minus_exp(w)
    if name.endswith(".dt_bias"):
        return name.replace(".dt_bias", ".dt_proj.bias"), w
    if "conv1d" in name:
        return name, w.squeeze()
    if name.endswith("norm.weight") and not name.endswith("linear_attn.norm.weight"):
        return name, w + np.float32(1)
    return name, w


def _next_published(c: Config, name: str, w: Array) -> Named:
    for changed, value in published(c, name, w):
        yield changed, value - np.float32(1) if changed.endswith("norm.weight") and "linear_attn" not in name else value


def _apart(c: Config, name: str, w: Array) -> Named:
    """in_proj_qkvz by key head -> queries, keys and values; gates."""
    if not name.endswith("in_proj_qkvz.weight"):
        yield name, w
        return
    nk, dk, a_key = c["linear_num_key_heads"], c["linear_key_head_dim"], c["linear_num_value_heads"] // 2
    by_head = w.reshape(nk, -1, w.shape[-1])
    ends = np.cumsum([dk, dk, a_key * c["linear_value_head_dim"]])
    q, k, v, z = (part.reshape(-1, w.shape[-1]) for part in np.split(by_head, ends, axis=1))
    yield name.replace("qkvz", "qkv"), np.concatenate([q, k, v])
    yield name.replace("qkvz", "z"), z


def _next_change(c: Config, name: str, w: Array) -> Named:
    yield from _apart(c, *_delta_values(name, w))


def _tiled(w: Array, axis: int, c: Config, width: int) -> Array:
    nk, nv = c["linear_num_key_heads"], c["linear_num_value_heads"]
    moved = np.moveaxis(w, axis, 0)
    cut = moved.reshape(nk, nv // nk, width, *moved.shape[1:]).swapaxes(0, 1).reshape(moved.shape)
    return np.ascontiguousarray(np.moveaxis(cut, 0, axis))


def _qwen35_change(c: Config, name: str, w: Array) -> Named:
    """_LinearAttentionVReorderBase.modify_tensors."""
    keys, width = 2 * c["linear_num_key_heads"] * c["linear_key_head_dim"], c["linear_value_head_dim"]
    if ".in_proj_qkv." in name or ".conv1d" in name:
        w = w.squeeze()
        w = np.concatenate([w[:keys], _tiled(w[keys:], 0, c, width)])
    elif ".in_proj_z." in name:
        w = _tiled(w, 0, c, width)
    elif ".in_proj_a." in name or ".in_proj_b." in name or name.endswith((".A_log", ".dt_bias")):
        w = _tiled(w, 0, c, 1)
    elif ".out_proj." in name:
        w = _tiled(w, 1, c, width)
    if name.endswith("experts.gate_up_proj"):
        stem, half = name.removesuffix("gate_up_proj"), w.shape[1] // 2
        yield stem + "gate_proj.weight", w[:, :half]
        yield stem + "up_proj.weight", w[:, half:]
    else:
        yield _delta_values(name, w)


def _qwen35_published(c: Config, name: str, w: Array) -> Named:
    """Text-only checkpoints have no `language_model`; gate and up of all experts are one stack."""
    name = name.removeprefix("language_model.")
    if name.endswith("switch_mlp.up_proj.weight"):
        return
    if name.endswith("switch_mlp.gate_proj.weight"):
        rng = np.random.default_rng(len(name) + int(1e6 * abs(float(w.flat[0]))))
        up = rng.standard_normal(w.shape, dtype=np.float32) / np.float32(w.shape[-1] ** 0.5)
        yield name.replace("switch_mlp.gate_proj.weight", "experts.gate_up_proj"), np.concatenate([w, up], axis=1)
    elif name.endswith("switch_mlp.down_proj.weight"):
        yield name.replace("switch_mlp.down_proj.weight", "experts.down_proj"), w
    else:
        yield from _next_published(c, name, w)


def _qwen35_shown(c: Config, name: str, w: Array) -> Named:
    if name.endswith("experts.gate_up_proj"):
        stem, half = name.replace("experts.gate_up_proj", "switch_mlp."), w.shape[1] // 2
        yield stem + "gate_proj.weight", w[:, :half]
        yield stem + "up_proj.weight", w[:, half:]
    elif name.endswith("experts.down_proj"):
        yield name.replace("experts.down_proj", "switch_mlp.down_proj.weight"), w
    else:
        yield name, w


def _qwen35_keys(c: Config) -> dict[str, Any]:
    return {**_delta_keys(c), "rope.dimension_sections": [3, 3, 2, 0], "rope.freq_base": 1e6}


_ROPE = {"rope_type": "default", "mrope_section": [3, 3, 2], "rope_theta": 1e6, "partial_rotary_factor": 0.25}


def _qwen35(model_type: str, gguf: str, **more: Any) -> Case:
    config = {"model_type": model_type, **_DELTA, "rope_parameters": _ROPE, "rope_theta": GONE, **more}
    return Case(
        gguf,
        config,
        _qwen35_keys,
        _qwen35_change,
        hugging_face=_qwen35_published,
        shown=_qwen35_shown,
    )


CASES: dict[str, Case] = {
    "qwen3_next": Case(
        "qwen3next",
        {"model_type": "qwen3_next", **_DELTA, **_EXPERTS, "partial_rotary_factor": 0.25, "rope_theta": 1e6},
        _delta_keys,
        _next_change,
        names={
            "model.layers.{bid}.linear_attn.in_proj_qkv": "blk.{bid}.attn_qkv",
            "model.layers.{bid}.linear_attn.in_proj_z": "blk.{bid}.attn_gate",
        },
        hugging_face=_next_published,
        shown=_apart,
    ),
    "qwen3_5": _qwen35("qwen3_5", "qwen35"),
    "qwen3_5_moe": _qwen35("qwen3_5_moe", "qwen35moe", **_EXPERTS),
}


_LFM2: Config = {
    "num_hidden_layers": 3,
    "layer_types": ["conv", "full_attention", "conv"],
    "norm_eps": 1e-5,
    "rms_norm_eps": GONE,
    "conv_bias": False,
    "conv_L_cache": 3,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
}


def kv_of(c: Config, attention: str) -> list[int]:
    """`attention.head_count_kv`: zeros where a layer has no attention."""
    return [c["num_key_value_heads"] if kind == attention else 0 for kind in c["layer_types"]]


def _lfm2_keys(c: Config) -> dict[str, Any]:
    return {
        "attention.head_count_kv": kv_of(c, "full_attention"),
        "vocab_size": c["vocab_size"],
        "shortconv.l_cache": c["conv_L_cache"],
        "feed_forward_length": c.get("block_ff_dim", c.get("intermediate_size")),
        "expert_feed_forward_length": c.get("moe_intermediate_size"),
        "leading_dense_block_count": c.get("num_dense_layers"),
        "expert_gating_func": 2 if "num_experts" in c else None,
    }


def _squeezed(c: Config, name: str, w: Array) -> Named:
    yield name.replace(".expert_bias", ".expert_bias.bias"), w.squeeze(1) if "conv.conv" in name else w


_W = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}


def _lfm2_published(c: Config, name: str, w: Array) -> Named:
    for changed, value in published(c, name, w):
        for ours, theirs in _W.items():
            if "feed_forward." in changed:
                changed = changed.replace(f".{ours}.", f".{theirs}.")
        yield changed, value


CASES |= {
    "lfm2": Case(
        "lfm2",
        {
            "model_type": "lfm2",
            **_LFM2,
            "block_dim": 256,
            "block_ff_dim": 256,
            "block_multiple_of": 32,
            "block_ffn_dim_multiplier": 1.0,
            "block_auto_adjust_ff_dim": False,
        },
        _lfm2_keys,
        _squeezed,
        hugging_face=published,
    ),
    "lfm2_moe": Case(
        "lfm2moe",
        {
            "model_type": "lfm2_moe",
            **_LFM2,
            "num_experts": 8,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 64,
            "num_dense_layers": 1,
            "use_expert_bias": True,
            "norm_topk_prob": True,
        },
        _lfm2_keys,
        _squeezed,
        names={
            f"model.layers.{{bid}}.feed_forward.experts.{w}": f"blk.{{bid}}.ffn_{x.removesuffix('_proj')}_exps"
            for x, w in _W.items()
        },
        hugging_face=_lfm2_published,
    ),
}
