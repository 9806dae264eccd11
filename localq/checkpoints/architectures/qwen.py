"""Qwen (the first): q, k and v fused with a bias, the gated MLP at half the stated width."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import decoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_H = "transformer.h.{i}."


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=(), own_head_dim=False)
    # The converter writes the one epsilon under both names
    if keys.number("attention.layer_norm_epsilon", config["rms_norm_eps"]) != config["rms_norm_eps"]:
        keys.refuse("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon")
    if config["rope_theta"] != 10000.0 or config["num_key_value_heads"] != config["num_attention_heads"]:
        keys.refuse("rope.freq_base", "attention.head_count_kv")  # built into mlx-lm's qwen
    return {
        **config,
        "kv_channels": config["head_dim"],
        "layer_norm_epsilon": config["rms_norm_eps"],
        "no_bias": True,
    }


ARCHITECTURE = Architecture(
    model_type="qwen",
    names={
        "token_embd.weight": "transformer.wte.weight",
        "output_norm.weight": "transformer.ln_f.weight",
        "output.weight": "lm_head.weight",
        "blk.{i}.attn_norm.weight": _H + "ln_1.weight",
        "blk.{i}.attn_qkv.weight": _H + "attn.c_attn.weight",
        "blk.{i}.attn_qkv.bias": _H + "attn.c_attn.bias",
        "blk.{i}.attn_output.weight": _H + "attn.c_proj.weight",
        "blk.{i}.ffn_norm.weight": _H + "ln_2.weight",
        "blk.{i}.ffn_up.weight": _H + "mlp.w1.weight",
        "blk.{i}.ffn_gate.weight": _H + "mlp.w2.weight",
        "blk.{i}.ffn_down.weight": _H + "mlp.c_proj.weight",
    },
    config=_config,
)
