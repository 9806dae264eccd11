"""Gemma 2: norms stored plus one, four norms a layer, soft-capped attention and logits, every other layer sliding."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, MLP, decoder
from localq.checkpoints.architectures._rules import minus_one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

GEMMA: dict[str, str | Name] = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": Name("model.norm.weight", minus_one),
    "blk.{i}.attn_norm.weight": Name(LAYER + "input_layernorm.weight", minus_one),
    "blk.{i}.post_attention_norm.weight": Name(LAYER + "post_attention_layernorm.weight", minus_one),
    "blk.{i}.ffn_norm.weight": Name(LAYER + "pre_feedforward_layernorm.weight", minus_one),
    "blk.{i}.post_ffw_norm.weight": Name(LAYER + "post_feedforward_layernorm.weight", minus_one),
    **ATTENTION,
    **MLP,
}


def query_scalar(keys: ModelKeys, largest: int) -> int:
    """`query_pre_attn_scalar`, which GGUF lacks: the head's width, but for the 27B model, told by its layers."""
    return keys.hidden // keys.heads if keys.layers == largest else keys.head_dim


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=("linear", "yarn"))
    # Left out of a file, these are what llama.cpp takes (src/models/gemma2.cpp, src/llama-hparams.h)
    local = keys.number("rope.freq_base_swa", config["rope_theta"])
    if local != config["rope_theta"] or keys.integer("attention.sliding_window_pattern", 2) != 2:
        keys.refuse("rope.freq_base_swa", "attention.sliding_window_pattern")
    return {
        **config,
        "attn_logit_softcapping": keys.number("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": keys.number("final_logit_softcapping", 30.0),
        "sliding_window": keys.integer("attention.sliding_window", 4096),
        "query_pre_attn_scalar": query_scalar(keys, largest=46),
    }


ARCHITECTURE = Architecture(model_type="gemma2", names=GEMMA, config=_config)
