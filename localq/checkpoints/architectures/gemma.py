"""Gemma (the first): Llama with norms stored plus one and a tied head."""

from __future__ import annotations

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, MLP, decoder
from localq.checkpoints.architectures._rules import minus_one

ARCHITECTURE = Architecture(
    model_type="gemma",
    names={
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": Name("model.norm.weight", minus_one),
        "blk.{i}.attn_norm.weight": Name(LAYER + "input_layernorm.weight", minus_one),
        "blk.{i}.ffn_norm.weight": Name(LAYER + "post_attention_layernorm.weight", minus_one),
        **ATTENTION,
        **MLP,
    },
    config=lambda keys: decoder(keys, scalings=()),
)
