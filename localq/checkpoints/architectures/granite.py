"""Granite 3 and 4 without state-space layers: Llama with scaled embeddings, scores, residuals and logits."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    MLP,
    NORMS,
    OUTER,
    biases,
    decoder,
    has_biases,
)
from localq.checkpoints.architectures._rules import key_rows, query_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

ROTATED: dict[str, str | Name] = {
    **ATTENTION,
    "blk.{i}.attn_q.weight": Name(LAYER + "self_attn.q_proj.weight", query_rows),
    "blk.{i}.attn_k.weight": Name(LAYER + "self_attn.k_proj.weight", key_rows),
}


def scaled(keys: ModelKeys) -> dict[str, Any]:
    """Config keys of the attention, the sizes and Granite's four scales; 0 or none is no scaling (src/llama-graph.cpp).

    Raises:
        UnsupportedError: a file without rope at all (`rope.scaling.finetuned` false).
    """
    if not keys.flag("rope.scaling.finetuned", True):
        keys.refuse("rope.scaling.finetuned")
    config = decoder(keys, own_head_dim=False)
    return {
        **config,
        "attention_multiplier": keys.number("attention.scale", 0.0) or config["head_dim"] ** -0.5,
        "embedding_multiplier": keys.number("embedding_scale", 0.0) or 1.0,
        "residual_multiplier": keys.number("residual_scale", 0.0) or 1.0,
        "logits_scaling": keys.number("logit_scale") or 1.0,
        "attention_bias": has_biases(keys, "attn_q", "attn_k", "attn_v", "attn_output"),
    }


ARCHITECTURE = Architecture(
    model_type="granite",
    names={
        **OUTER,
        **NORMS,
        **ROTATED,
        **biases(ROTATED, optional=True),
        **MLP,
        **biases(MLP, optional=True),
    },
    config=lambda keys: {**scaled(keys), "mlp_bias": has_biases(keys, "ffn_gate", "ffn_up", "ffn_down")},
    consumed=("rope_freqs.weight",),
)
