"""A tiny Kimi K3 as published, and its GGUF layout (conversion/kimi_k3.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.factories.hybrid import decays, minus_exp
from tests.factories.mla import halves
from tests.factories.mla import published as latent_published
from tests.factories.more import BASE, Array, Case, Config

Named = Iterator[tuple[str, Array]]

NORM = np.float32(1.5)  # of the residuals' norms, so that one tensor alone tells the product
_FLAT: Config = {
    "num_hidden_layers": 4,
    "num_key_value_heads": 4,
    "hidden_act": "situ",
    "activation_situ_beta": 2.0,
    "activation_situ_linear_beta": 3.0,
    "attn_res_block_size": 2,
    "q_lora_rank": 128,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "mla_use_nope": True,
    "mla_use_output_gate": True,
    "linear_attn_config": {
        "num_heads": 4,
        "head_dim": 64,
        "short_conv_kernel_size": 4,
        "gate_lower_bound": -5.0,
        "use_full_rank_gate": True,
        "kda_layers": [1, 3],
        "full_attn_layers": [2, 4],
    },
    "num_experts": 8,
    "num_experts_per_token": 3,
    "num_shared_experts": 1,
    "moe_intermediate_size": 64,
    "moe_router_activation_func": "sigmoid",
    "moe_renormalize": True,
    "routed_scaling_factor": 2.5,
    "first_k_dense_replace": 1,
    "routed_expert_hidden_size": 128,
    "latent_moe_use_norm": True,
}
_K3: Config = {"model_type": "kimi_k3", **_FLAT, "text_config": {**BASE, **_FLAT}}
_W = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}


def _layer(name: str) -> int:
    return int(name.split(".layers.")[1].split(".")[0])


def _published(c: Config, name: str, w: Array) -> Named:
    if "qkv_proj" in name:
        yield from (
            (name.replace("qkv_proj", f"{x}_proj"), part) for x, part in zip("qkv", np.split(w, 3), strict=True)
        )
    elif "qkv_conv" in name:
        for x, part in zip("qkv", np.split(w, 3), strict=True):
            turned = np.ascontiguousarray(part.swapaxes(1, 2)) / np.float32(2)
            yield name.replace("qkv_conv.conv", f"{x}_conv1d"), turned
    elif name.endswith("A_log"):
        yield name, decays(0.3 * w)
    elif "_res_norm" in name:
        yield name, np.full_like(w, NORM)
    else:
        for changed, value in latent_published(c, name, w):
            yield _expert_names(c, changed), value


def _expert_names(c: Config, name: str) -> str:
    if ".mlp." not in name or _layer(name) < c["first_k_dense_replace"]:
        return name
    for ours, theirs in _W.items() if ".experts." in name else ():
        name = name.replace(f".{ours}.", f".{theirs}.")
    name = name.replace("mlp.e_score", "block_sparse_moe.gate.e_score")
    return name.replace(".mlp.", ".block_sparse_moe.")


def _shown(c: Config, name: str, w: Array) -> Named:
    if "_res_norm" not in name:
        yield name, w * NORM if "_res_proj" in name else w


def _change(c: Config, name: str, w: Array) -> Named:
    for shown, value in _shown(c, name, w):
        name = shown.removeprefix("language_model.")
        if "_res_proj" in name:
            yield name, value.reshape(-1)
        elif "_conv1d." in name:
            yield name, value.reshape(1, value.shape[0], 1, value.shape[-1])
        elif name.endswith("A_log"):
            yield name, minus_exp(value)
        elif name.endswith("g_proj.weight") and _layer(name) + 1 in c["linear_attn_config"]["kda_layers"]:
            yield name.replace("g_proj", "g_full_proj"), value
        else:
            yield from halves(c, name.replace(".dt_bias", ".dt_proj.bias"), value)


def _keys(c: Config) -> dict[str, Any]:
    linear = c["linear_attn_config"]
    return {
        "attention.head_count_kv": [int(i + 1 in linear["full_attn_layers"]) for i in range(c["num_hidden_layers"])],
        "vocab_size": c["vocab_size"],
        "ssm.conv_kernel": linear["short_conv_kernel_size"],
        "kda.head_dim": linear["head_dim"],
        "kda.gate_lower_bound": linear["gate_lower_bound"],
        "attention.q_lora_rank": c["q_lora_rank"],
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
        "expert_weights_norm": c["moe_renormalize"],
        "expert_gating_func": 2,
        "expert_latent_length": c["routed_expert_hidden_size"],
        "activation.situ_beta": c["activation_situ_beta"],
        "activation.situ_linear_beta": c["activation_situ_linear_beta"],
        "attn_res.block_size": c["attn_res_block_size"],
    }


_L = "model.layers.{bid}."
_MOE = _L + "block_sparse_moe."
_NAMES = {
    "model.output_attn_res_proj": "output_res_score",
    _L + "self_attention_res_proj": "blk.{bid}.attn_res_score",
    _L + "mlp_res_proj": "blk.{bid}.ffn_res_score",
    **{f"{_L}self_attn.{x}_proj": f"blk.{{bid}}.ssm_{x}" for x in ("f_a", "f_b")},
    _L + "self_attn.b_proj": "blk.{bid}.ssm_beta",
    _L + "self_attn.g_proj": "blk.{bid}.attn_gate",
    _L + "self_attn.g_full_proj": "blk.{bid}.ssm_g",
    _L + "self_attn.q_a_proj": "blk.{bid}.attn_q_a",
    _L + "self_attn.q_a_layernorm": "blk.{bid}.attn_q_a_norm",
    _L + "self_attn.q_b_proj": "blk.{bid}.attn_q_b",
    _MOE + "gate": "blk.{bid}.ffn_gate_inp",
    **{f"{_MOE}experts.{w}": f"blk.{{bid}}.ffn_{x[:-5]}_exps" for x, w in _W.items()},
    **{
        f"{_MOE}routed_expert_{x}": f"blk.{{bid}}.ffn_routed_{y}" for x, y in (("down_proj", "down"), ("up_proj", "up"))
    },
    _MOE + "routed_expert_norm": "blk.{bid}.ffn_routed_norm",
}
CASES: dict[str, Case] = {
    "kimi_k3": Case("kimi-k3", _K3, _keys, _change, names=_NAMES, hugging_face=_published, shown=_shown),
}
