"""DeepSeek V3.2: V3 whose attention looks at the tokens an indexer picks (DSA)."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER
from localq.checkpoints.architectures._mla import LATENT, join_halves
from localq.checkpoints.architectures.deepseek2 import SIGMOID, v3

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_INDEXER = LAYER + "self_attn.indexer."
SPARSE: dict[str, str | Name] = {
    **LATENT,
    "blk.{i}.indexer.k_norm.weight": _INDEXER + "k_norm.weight",
    "blk.{i}.indexer.k_norm.bias": _INDEXER + "k_norm.bias",
    "blk.{i}.indexer.proj.weight": _INDEXER + "weights_proj.weight",
    "blk.{i}.indexer.attn_k.weight": _INDEXER + "wk.weight",
    "blk.{i}.indexer.attn_q_b.weight": _INDEXER + "wq_b.weight",
}


def sparse(keys: ModelKeys) -> dict[str, Any]:
    """V3's config and the indexer's."""
    if keys.integer("expert_gating_func", SIGMOID) != SIGMOID:
        keys.refuse("expert_gating_func")
    return {
        **v3(keys),
        "index_n_heads": keys.integer("attention.indexer.head_count"),
        "index_head_dim": keys.integer("attention.indexer.key_length"),
        "index_topk": keys.integer("attention.indexer.top_k"),
    }


def _config(keys: ModelKeys) -> dict[str, Any]:
    if keys.number("attention.layer_norm_rms_epsilon") != 1e-6:  # built into two norms of mlx-lm's
        keys.refuse("attention.layer_norm_rms_epsilon")
    return sparse(keys)


ARCHITECTURE = Architecture(model_type="deepseek_v32", names=SPARSE, config=_config, prepare=join_halves)
