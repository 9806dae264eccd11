"""Qwen1.5-MoE and Qwen2-MoE: experts in every layer beside a shared one with a gate of its own."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, NORMS, OUTER, biases, decoder, expert_counts
from localq.checkpoints.architectures._shapes import reshaped
from localq.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_QKV = {name: ATTENTION[name] for name in ATTENTION if "attn_output" not in name}
_PARTS = ("gate", "up", "down")


def _config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    config = decoder(keys, scalings=(), own_head_dim=False)
    if config["tie_word_embeddings"]:
        raise UnsupportedError("The GGUF file has no 'output.weight'; a qwen2moe model has a head of its own.")
    inner = config["intermediate_size"]
    return {
        **config,
        "num_experts": experts,
        "num_experts_per_tok": used,
        # The fallbacks are those of src/models/qwen2moe.cpp
        "moe_intermediate_size": keys.integer("expert_feed_forward_length", inner // used),
        "shared_expert_intermediate_size": keys.integer("expert_shared_feed_forward_length", inner),
        "norm_topk_prob": False,
    }


ARCHITECTURE = Architecture(
    model_type="qwen2_moe",
    names={
        **OUTER,
        "output.weight": "lm_head.weight",
        **NORMS,
        **ATTENTION,
        **biases(_QKV),
        "blk.{i}.ffn_gate_inp.weight": LAYER + "mlp.gate.weight",
        **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{LAYER}mlp.experts.{{e}}.{x}_proj.weight" for x in _PARTS},
        "blk.{i}.ffn_gate_inp_shexp.weight": LAYER + "mlp.shared_expert_gate.weight",
        **{f"blk.{{i}}.ffn_{x}_shexp.weight": f"{LAYER}mlp.shared_expert.{x}_proj.weight" for x in _PARTS},
    },
    config=_config,
    prepare=reshaped(ffn_gate_inp_shexp=(1, -1)),
)
