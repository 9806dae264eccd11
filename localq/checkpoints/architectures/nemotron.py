"""Nemotron 3 and 4, Minitron (dense): layer norms stored plus one, squared ReLU without a gate, partial rope."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, MLP, OUTER, biases, decoder, has_biases
from localq.checkpoints.architectures._rules import minus_one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_MLP = {name: target for name, target in MLP.items() if "ffn_gate" not in name}
_NORMS = {
    "output_norm": "model.norm",
    "blk.{i}.attn_norm": LAYER + "input_layernorm",
    "blk.{i}.ffn_norm": LAYER + "post_attention_layernorm",
}


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=("linear",), partial_rope=True, rms=False)
    # The converter writes the one epsilon under both names
    if keys.number("attention.layer_norm_rms_epsilon", config["layer_norm_eps"]) != config["layer_norm_eps"]:
        keys.refuse("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon")
    if scaling := config.get("rope_scaling"):
        scaling["type"] = scaling["rope_type"]  # mlx-lm's nemotron looks for "type" alone
    return {
        **config,
        "norm_eps": config.pop("layer_norm_eps"),
        "hidden_act": "relu2",
        "partial_rotary_factor": keys.integer("rope.dimension_count", config["head_dim"]) / config["head_dim"],
        "attention_bias": has_biases(keys, "attn_q", "attn_k", "attn_v", "attn_output"),
        "mlp_bias": has_biases(keys, "ffn_up", "ffn_down"),
    }


ARCHITECTURE = Architecture(
    model_type="nemotron",
    names={
        **OUTER,
        **{f"{gguf}.weight": Name(f"{hf}.weight", minus_one) for gguf, hf in _NORMS.items()},
        **{f"{gguf}.bias": f"{hf}.bias" for gguf, hf in _NORMS.items()},
        **ATTENTION,
        **_MLP,
        **biases(ATTENTION, optional=True),
        **biases(_MLP, optional=True),
    },
    config=_config,
)
