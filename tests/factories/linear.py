"""Tiny models of Kimi Linear, PLaMo 2 and BitNet, and their GGUF layout (facts: llama.cpp's conversion/*.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.factories.hybrid import Named, decays, kv_of, minus_exp
from tests.factories.more import GONE, Array, Case, Config

# mlx-lm's kimi_linear has convolutions in modules of their own
_W = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}


def _kimi_published(c: Config, name: str, w: Array) -> Named:
    for x in "qkv":
        if name.endswith(f"{x}_conv.conv.weight"):
            yield name.replace("_conv.conv", "_conv1d"), np.ascontiguousarray(w.swapaxes(1, 2)) / np.float32(2)
            return
    if name.endswith("unembed_out.weight"):
        rng = np.random.default_rng(len(name) + int(1e6 * abs(float(w.flat[0]))))
        rows = c["num_attention_heads"] * (c["qk_nope_head_dim"] + c["v_head_dim"])
        drawn = rng.standard_normal((rows, c["kv_lora_rank"]), dtype=np.float32)
        yield name.replace("unembed_out", "kv_b_proj"), drawn / np.float32(c["kv_lora_rank"] ** 0.5)
        return
    if name.endswith("embed_q.weight"):
        return
    if "mlp.experts." in name or "mlp.shared_experts." in name or name.endswith("mlp.gate.weight"):
        name = name.replace(".mlp.", ".block_sparse_moe.")
    name = name.replace("mlp.e_score_correction_bias", "block_sparse_moe.gate.e_score_correction_bias")
    if ".experts." in name:
        for ours, theirs in _W.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
    yield name, decays(w) if name.endswith("A_log") else w


def _kimi_change(c: Config, name: str, w: Array) -> Named:
    """KimiLinearModel.modify_tensors."""
    if "_conv1d." in name:
        w = w.reshape(1, w.shape[0], 1, w.shape[-1])
    elif name.endswith(".A_log"):
        w = minus_exp(w)
    elif name.endswith(".dt_bias"):
        name = name.replace(".dt_bias", ".dt_proj.bias")
    elif name.endswith("kv_b_proj.weight"):
        both = w.reshape(c["num_attention_heads"], -1, w.shape[-1])
        nope = c["qk_nope_head_dim"]
        yield name.replace("kv_b_proj", "k_b_proj"), np.ascontiguousarray(both[:, :nope].swapaxes(1, 2))
        yield name.replace("kv_b_proj", "v_b_proj"), np.ascontiguousarray(both[:, nope:])
        return
    yield name.replace("e_score_correction_bias", "e_score_correction.bias"), w


def _kimi_keys(c: Config) -> dict[str, Any]:
    full, linear = c["linear_attn_config"]["full_attn_layers"], c["linear_attn_config"]
    return {
        "attention.head_count_kv": [1 if i + 1 in full else 0 for i in range(c["num_hidden_layers"])],
        "vocab_size": c["vocab_size"],
        "context_length": c["model_max_length"],
        "ssm.conv_kernel": linear["short_conv_kernel_size"],
        "kda.head_dim": linear["head_dim"],
        "attention.kv_lora_rank": c["kv_lora_rank"],
        "rope.dimension_count": c["qk_rope_head_dim"],
        "attention.key_length": c["kv_lora_rank"] + c["qk_rope_head_dim"],
        "attention.value_length": c["kv_lora_rank"],
        "attention.key_length_mla": c["qk_nope_head_dim"] + c["qk_rope_head_dim"],
        "attention.value_length_mla": c["v_head_dim"],
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "expert_shared_count": c["num_shared_experts"],
        "leading_dense_block_count": c["first_k_dense_replace"],
        "expert_weights_scale": c["routed_scaling_factor"],
        "expert_gating_func": 2,
    }


_KIMI: Config = {
    "model_type": "kimi_linear",
    "num_hidden_layers": 3,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "linear_attn_config": {
        "num_heads": 4,
        "head_dim": 64,
        "short_conv_kernel_size": 4,
        "kda_layers": [1, 3],
        "full_attn_layers": [2],
    },
    "model_max_length": 512,
    "max_position_embeddings": GONE,
    "num_experts": 8,
    "num_experts_per_token": 3,
    "num_shared_experts": 1,
    "moe_intermediate_size": 64,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "mla_use_nope": True,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 2.446,
}
_KIMI_NAMES = {
    **{f"model.layers.{{bid}}.block_sparse_moe.experts.{w}": f"blk.{{bid}}.ffn_{x[:-5]}_exps" for x, w in _W.items()},
    **{f"model.layers.{{bid}}.self_attn.{x}_proj": f"blk.{{bid}}.ssm_{x}" for x in ("f_a", "f_b", "g_a", "g_b")},
    "model.layers.{bid}.self_attn.b_proj": "blk.{bid}.ssm_beta",
    "model.layers.{bid}.block_sparse_moe.gate": "blk.{bid}.ffn_gate_inp",
}

_OFFSETS = {
    "pre_mixer_norm": 1.0,
    "post_mixer_norm": 1.0 / 5,
    "pre_mlp_norm": 1.0,
    "post_mlp_norm": 1.0 / 5**1.5,
    "model.norm": 1.0,
}


def _offset(name: str) -> np.float32:
    return np.float32(next((v for part, v in _OFFSETS.items() if part in name), 0.0))


def _plamo_published(c: Config, name: str, w: Array) -> Named:
    if "conv1d" in name:
        yield name, np.ascontiguousarray(w.swapaxes(1, 2)) / np.float32(2)
    elif name.endswith("A_log"):
        yield name, decays(w)
    elif name.endswith("norm.weight"):  # so that adding the offset and taking it off loses nothing
        added = (w - np.float32(1)) / np.float32(4) + _offset(name)
        yield name, added - _offset(name)
    else:
        yield name, np.abs(w) + np.float32(0.5) if name.endswith(("q_weight", "k_weight", "norm_weight")) else w


_RENAMED = {".dt_bias": ".dt_proj.bias", ".k_weight": ".k.weight", ".q_weight": ".q.weight"}


def _plamo_change(c: Config, name: str, w: Array) -> Named:
    """Plamo2Model.modify_tensors."""
    for old, new in _RENAMED.items():
        name = name.replace(old, new)
    for kind in ("dt", "B", "C"):  # gguf-py knows these by their full names: the converter writes no suffix
        name = name.replace(f".{kind}_norm_weight", f".{kind}_norm.bare")
    w = minus_exp(w) if name.endswith("A_log") else w.squeeze(1) if "conv1d" in name else w
    if name.endswith("norm.weight"):
        w = w + _offset(name)
        name = name.replace("post_mixer_norm.weight", "post_mixer_norm.bare")
        name = name.replace("post_mlp_norm.weight", "post_mlp_norm.bare")
    yield name, w


def _plamo_keys(c: Config) -> dict[str, Any]:
    layers = ["mamba" if i % c["mamba_step"] != c["mamba_step"] // 2 else "attention" for i in range(4)]
    kv = kv_of({**c, "layer_types": layers}, "attention")
    return {
        "vocab_size": c["vocab_size"],
        "attention.head_count_kv": kv,
        "attention.head_count": [c["num_attention_heads"] if n else 0 for n in kv],
        "attention.key_length": c["hidden_size_per_head"],
        "attention.value_length": c["hidden_size_per_head"],
        "ssm.state_size": c["mamba_d_state"],
        "ssm.conv_kernel": c["mamba_d_conv"],
        "ssm.time_step_rank": c["mamba_num_heads"],
        "ssm.inner_size": c["mamba_num_heads"] * c["hidden_size_per_head"],
        "ssm.group_count": 0,
    }


_PLAMO_NAMES = {
    **{
        f"model.layers.layers.{{bid}}.mixer.{x}_norm.bare": f"blk.{{bid}}.ssm_{x.lower()}_norm"
        for x in ("dt", "B", "C")
    },
    "model.layers.layers.{bid}.post_mixer_norm.bare": "blk.{bid}.post_attention_norm",
    "model.layers.layers.{bid}.post_mlp_norm.bare": "blk.{bid}.post_ffw_norm",
}


def _ternary(c: Config, name: str, w: Array) -> Named:
    """mlx-lm's layers hold four rows in one; here are the ternary weights they stand for."""
    if name.endswith("weight_scale"):
        return
    if "_proj." in name:
        rng = np.random.default_rng(len(name) + int(1e6 * abs(float(w.flat[0]))))
        w = rng.integers(-1, 2, (4 * w.shape[0], w.shape[1])).astype(np.float32) / np.float32(w.shape[1] ** 0.5)
    yield name, w


CASES: dict[str, Case] = {
    "kimi_linear": Case(
        "kimi-linear", _KIMI, _kimi_keys, _kimi_change, names=_KIMI_NAMES, hugging_face=_kimi_published
    ),
    "plamo2": Case(
        "plamo2",
        {
            "model_type": "plamo2",
            "num_hidden_layers": 4,
            "hidden_size_per_head": 64,
            "mamba_d_state": 32,
            "mamba_d_conv": 4,
            "mamba_num_heads": 8,
            "mamba_step": 2,
            "mamba_enabled": True,
            "attention_window_size": 2048,
            "tie_word_embeddings": True,
        },
        _plamo_keys,
        _plamo_change,
        names=_PLAMO_NAMES,
        hugging_face=_plamo_published,
        llama_cpp=False,  # llama.cpp 0.5.0 does not come back from a model this small
    ),
    "bitnet": Case(
        "bitnet",
        {"model_type": "bitnet", "hidden_act": "silu", "tie_word_embeddings": True, "rms_norm_eps": 1e-5},
        lambda c: {"vocab_size": c["vocab_size"], "rope.scaling.type": "linear", "rope.scaling.factor": 1.0},
        names={
            "model.layers.{bid}.self_attn.attn_sub_norm": "blk.{bid}.attn_sub_norm",
            "model.layers.{bid}.mlp.ffn_sub_norm": "blk.{bid}.ffn_sub_norm",
        },
        hugging_face=_ternary,
        vocabulary="spm",
    ),
}
