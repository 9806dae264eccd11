"""EXAONE 3: Llama under GPT-2's names; heads keep their row order."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import decoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_H = "transformer.h.{i}."


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys)
    # The converter writes the one epsilon under both names
    if keys.number("attention.layer_norm_epsilon", config["rms_norm_eps"]) != config["rms_norm_eps"]:
        keys.refuse("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon")
    return {
        **config,
        "num_layers": config["num_hidden_layers"],
        "layer_norm_epsilon": config["rms_norm_eps"],
        "activation_function": "silu",
    }


ARCHITECTURE = Architecture(
    model_type="exaone",
    names={
        "token_embd.weight": "transformer.wte.weight",
        "output_norm.weight": "transformer.ln_f.weight",
        "output.weight": Name("lm_head.weight", optional=True),
        "blk.{i}.attn_norm.weight": _H + "ln_1.weight",
        "blk.{i}.attn_q.weight": _H + "attn.attention.q_proj.weight",
        "blk.{i}.attn_k.weight": _H + "attn.attention.k_proj.weight",
        "blk.{i}.attn_v.weight": _H + "attn.attention.v_proj.weight",
        "blk.{i}.attn_output.weight": _H + "attn.attention.out_proj.weight",
        "blk.{i}.ffn_norm.weight": _H + "ln_2.weight",
        "blk.{i}.ffn_gate.weight": _H + "mlp.c_fc_0.weight",
        "blk.{i}.ffn_up.weight": _H + "mlp.c_fc_1.weight",
        "blk.{i}.ffn_down.weight": _H + "mlp.c_proj.weight",
    },
    config=_config,
    consumed=("rope_freqs.weight",),
)
