"""Talkie: norms without weights, a gain per head, per layer and for the head, each layer sees the embedding again.

Its rope turns the other way round. GGUF's queries and keys have the second half of every head negated instead
(conversion/talkie.py), and packed rows stay as they are: the config says so (`half_negated`), as it holds the gain of
the head, a key in GGUF and a tensor in the published weights (`lm_head_gain.w_g`).
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import decoder
from localq.checkpoints.architectures._hybrid import in_turn
from localq.checkpoints.architectures._shapes import reshaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_B = "model.blocks.{i}."
_MATRICES = {
    **{"attn_q": "attn.attn_query", "attn_k": "attn.attn_key", "attn_v": "attn.attn_value"},
    **{"attn_output": "attn.attn_resid", "ffn_gate": "mlp.mlp_gate", "ffn_up": "mlp.mlp_linear"},
    "ffn_down": "mlp.mlp_resid",
}


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=())
    if config["num_key_value_heads"] != config["num_attention_heads"]:
        keys.refuse("attention.head_count_kv")
    return {
        **config,
        "tie_word_embeddings": False,
        "half_negated": True,
        "lm_head_gain": keys.number("logit_scale"),
    }


ARCHITECTURE = Architecture(
    model_type="talkie",
    names={
        "token_embd.weight": "model.embed.weight",
        "output.weight": "lm_head",
        **{f"blk.{{i}}.{stored}.weight": f"{_B}{hf}.weight" for stored, hf in _MATRICES.items()},
        "blk.{i}.attn_output.scale": _B + "attn_gain.a_g",
        "blk.{i}.ffn_down.scale": _B + "mlp_gain.a_g",
        "blk.{i}.attn_q_norm.weight": Name(_B + "attn.head_gain.head_g"),
        "blk.{i}.layer_output_scale.weight": _B + "embed_skip.a_g",
    },
    config=_config,
    prepare=in_turn(reshaped(attn_q_norm=(-1,))),
)
