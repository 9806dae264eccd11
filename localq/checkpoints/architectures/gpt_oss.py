"""gpt-oss: experts with biases, attention sinks, every other layer sliding, YaRN.

Hugging Face fuses and interleaves the experts' gate and up; GGUF keeps them apart (conversion/gpt_oss.py), and so do
the names here: `mlp.experts.{gate,up,down}_proj`, stacks `[experts, out, in]`, as mlx-lm has them.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    OUTER,
    biases,
    decoder,
    expert_counts,
    sliding_layers,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_EXPERTS: dict[str, str | Name] = {
    "blk.{i}.ffn_gate_inp.weight": LAYER + "mlp.router.weight",
    "blk.{i}.ffn_gate_exps.weight": LAYER + "mlp.experts.gate_proj.weight",
    "blk.{i}.ffn_up_exps.weight": LAYER + "mlp.experts.up_proj.weight",
    "blk.{i}.ffn_down_exps.weight": LAYER + "mlp.experts.down_proj.weight",
}


def _config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    config = decoder(keys, scalings=("yarn", "linear"))
    if keys.number("rope.freq_base_swa", config["rope_theta"]) != config["rope_theta"]:
        keys.refuse("rope.freq_base_swa")
    if config.get("rope_scaling", {}).get("rope_type") == "yarn":
        config["rope_scaling"]["truncate"] = False  # how Hugging Face spells the model; GGUF has no key for it
    sliding = sliding_layers(keys, period=2)
    return {
        **config,
        "intermediate_size": keys.integer("expert_feed_forward_length", config["intermediate_size"]),
        "num_local_experts": experts,
        "num_experts_per_tok": used,
        "sliding_window": keys.integer("attention.sliding_window"),
        "layer_types": ["sliding_attention" if flag else "full_attention" for flag in sliding],
        "attention_bias": True,
    }


ARCHITECTURE = Architecture(
    model_type="gpt_oss",
    names={
        **OUTER,
        **ATTENTION,
        **_EXPERTS,
        **biases(ATTENTION),
        **biases(_EXPERTS),
        "output.weight": "lm_head.weight",
        "blk.{i}.attn_norm.weight": LAYER + "input_layernorm.weight",
        "blk.{i}.post_attention_norm.weight": LAYER + "post_attention_layernorm.weight",
        "blk.{i}.attn_sinks.weight": LAYER + "self_attn.sinks",
    },
    config=_config,
)
