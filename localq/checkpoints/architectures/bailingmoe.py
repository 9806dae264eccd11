"""Ling and Ring, first generation: q, k and v fused in Hugging Face, apart and in Llama's row order in GGUF.

The converter divides `lm_head` by its column norms where `norm_head` asks for it; the file holds the result.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, NORMS, decoder
from localq.checkpoints.architectures._joins import fused_names, join_rows
from localq.checkpoints.architectures._mla import DENSE, EXPERTS, experts
from localq.checkpoints.architectures._rules import key_rows, query_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_QKV = (("attn_q", query_rows), ("attn_k", key_rows), ("attn_v", None))

OUTER: dict[str, str | Name] = {
    "token_embd.weight": "model.word_embeddings.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def bailing(keys: ModelKeys, partial_rope: bool) -> dict[str, Any]:
    """Config keys both generations share."""
    config = {**decoder(keys, own_head_dim=False, partial_rope=partial_rope), **experts(keys)}
    return {
        **config,
        "num_experts": config.pop("n_routed_experts"),
        "num_shared_experts": config.pop("n_shared_experts") or 0,
        "rotary_dim": keys.integer("rope.dimension_count", config["head_dim"]),
        "use_bias": False,
        "norm_head": False,
    }


ARCHITECTURE = Architecture(
    model_type="bailing_moe",
    names={
        **OUTER,
        **NORMS,
        **fused_names("attn_qkv", LAYER + "attention.query_key_value", _QKV),
        "blk.{i}.attn_output.weight": LAYER + "attention.dense.weight",
        **DENSE,
        **EXPERTS,
    },
    config=lambda keys: {**bailing(keys, partial_rope=False), "score_function": "softmax"},
    prepare=join_rows("attn_qkv", _QKV),
)
