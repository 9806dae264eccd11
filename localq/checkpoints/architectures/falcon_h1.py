"""Falcon-H1: Mamba-2 and attention side by side in every layer.

The converter multiplies the model's scales into the weights (conversion/falcon_h1.py), so they are ones here.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, decoder
from localq.checkpoints.architectures._mamba2 import flat, has_conv_bias, mixer, sizes
from localq.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    if "output.weight" not in keys.tensors:
        raise UnsupportedError(
            "The falcon-h1 file has no 'output.weight'; its embedding is scaled and makes no head.",
            "Convert the model with a head of its own, or use its safetensors repository.",
        )
    found, layers = sizes(keys), range(keys.layers)
    config = decoder(keys, scalings=())
    scales = ("attention_in", "attention_out", "embedding", "key", "lm_head", "ssm_in", "ssm_out")
    return {
        **config,
        **{f"{scale}_multiplier": 1.0 for scale in scales},
        "mlp_multipliers": [1.0, 1.0],
        "ssm_multipliers": [1.0] * 5,
        "mamba_d_ssm": found.heads * found.width,
        "mamba_n_heads": found.heads,
        "mamba_d_head": found.width,
        "mamba_n_groups": found.groups,
        "mamba_d_state": found.state,
        "mamba_d_conv": found.taps,
        "mamba_conv_bias": has_conv_bias(keys, list(layers)),
        "mamba_rms_norm": any(f"blk.{i}.ssm_norm.weight" in keys.tensors for i in layers),
        "mamba_norm_before_gate": False,
        "tie_word_embeddings": False,
    }


ARCHITECTURE = Architecture(
    model_type="falcon_h1",
    names={
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.final_layernorm.weight",
        "output.weight": Name("lm_head.weight", optional=True),
        "blk.{i}.attn_norm.weight": LAYER + "input_layernorm.weight",
        "blk.{i}.ffn_norm": LAYER + "pre_ff_layernorm.weight",
        **ATTENTION,
        **mixer(LAYER + "mamba.", norm=False),
        **{f"blk.{{i}}.ffn_{x}.weight": f"{LAYER}feed_forward.{x}_proj.weight" for x in ("gate", "up", "down")},
    },
    config=_config,
    prepare=flat,
)
