"""Seed-OSS: as Llama with biases on queries, keys and values; heads keep their row order."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, MLP, OUTER, biases, decoder, has_biases

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_QKV = {name: ATTENTION[name] for name in ATTENTION if "attn_output" not in name}


def _config(keys: ModelKeys) -> dict[str, Any]:
    return {
        **decoder(keys, scalings=("linear", "yarn")),
        "attention_bias": has_biases(keys, "attn_q", "attn_k", "attn_v"),
        "attention_out_bias": False,
        "mlp_bias": False,
    }


ARCHITECTURE = Architecture(
    model_type="seed_oss",
    names={
        **OUTER,
        "blk.{i}.attn_norm.weight": LAYER + "input_layernorm.weight",
        "blk.{i}.post_attention_norm.weight": LAYER + "post_attention_layernorm.weight",
        **ATTENTION,
        **biases(_QKV, optional=True),
        **MLP,
    },
    config=_config,
)
