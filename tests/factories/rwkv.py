"""A tiny RWKV 7 as flash-linear-attention publishes it, and its GGUF layout (conversion/rwkv.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories.more import GONE, Array, Case, Config, Weights, make

Named = Iterator[tuple[str, Array]]

_RWKV: Config = {
    "model_type": "rwkv7",
    "num_hidden_layers": 3,
    "head_dim": 64,
    "norm_eps": 1e-5,
    "hidden_act": "sqrelu",
    "a_low_rank_dim": 32,
    "v_low_rank_dim": 32,
    "gate_low_rank_dim": 64,
    "decay_low_rank_dim": 32,
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "rms_norm_eps", "rope_theta"), GONE),
}
_FLAT = (".k_k", ".k_a", "g_norm.weight", "g_norm.bias")
_MIXES = [f".attn.x_{letter}" for letter in "rwkvag"]


def _published(c: Config, name: str, w: Array) -> Named:
    yield name, w.reshape(-1) + np.float32(0.5) if name.endswith(_FLAT) else w


def _keys(c: Config) -> dict[str, Any]:
    return {
        "attention.layer_norm_rms_epsilon": None,
        "attention.layer_norm_epsilon": c["norm_eps"],
        "wkv.head_size": c["head_dim"],
        "attention.key_length": None,
        "attention.value_length": None,
        "attention.head_count": 0,
        "attention.decay_lora_rank": c["decay_low_rank_dim"],
        "attention.iclr_lora_rank": c["a_low_rank_dim"],
        "attention.value_residual_mix_lora_rank": c["v_low_rank_dim"],
        "attention.gate_lora_rank": c["gate_low_rank_dim"],
    }


def _change(c: Config, name: str, w: Array) -> Named:
    """Rwkv7Model: names of RWKV's own code, six mixes in one tensor, dummies for the first layer's value mix."""
    if name.endswith(tuple(_MIXES)):
        return
    name = name.replace("attn_norm", "ln1").replace("ffn_norm", "ln2").replace("g_norm", "ln_x")
    for old, new in (("lora.0.weight", "1"), ("lora.2.weight", "2"), ("lora.2.bias", "0")):
        name = name.replace(f"_lora.{old}", f"{new}.weight")
    name = name.replace(".attn.", ".attention.").replace(".ffn.", ".feed_forward.")
    w = w.squeeze()
    if name.startswith("model.layers.0.attention.a"):
        yield name.replace("attention.a", "attention.v"), w
    yield name, w.reshape(-1) if name.endswith("r_k") else w


def _fused(c: Config) -> Weights:
    weights = make("rwkv7", CASES["rwkv7"]).weights
    return {
        f"blk.{i}.time_mix_lerp_fused.weight": np.stack([weights[f"model.layers.{i}{x}"] for x in _MIXES])
        for i in range(c["num_hidden_layers"])
    }


_NAMES = {
    **{f"model.layers.{{bid}}.ln{n}": f"blk.{{bid}}.attn_norm{end}" for n, end in (("1", ""), ("2", "_2"))},
    **{f"model.layers.{{bid}}.attention.v{n}": f"blk.{{bid}}.time_mix_v{n}" for n in "012"},
}
CASES: dict[str, Case] = {
    "rwkv7": Case("rwkv7", _RWKV, _keys, _change, names=_NAMES, hugging_face=_published, extra=_fused),
}
