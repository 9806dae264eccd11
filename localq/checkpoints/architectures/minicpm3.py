"""MiniCPM3: latent attention without absorption, LongRoPE, scaled embeddings, residuals and logits.

The three scales are built into llama.cpp (src/models/minicpm3.cpp); GGUF has no keys for them.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import LAYER, MLP, NORMS, OUTER, embedding
from localq.checkpoints.architectures._mla import QUERIES
from localq.checkpoints.architectures._rope import LONG, SHORT, rope_scaling
from localq.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_ATTN = LAYER + "self_attn."


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    rotated, theta = keys.integer("rope.dimension_count"), keys.number("rope.freq_base", 10000.0)
    scaling = rope_scaling(keys, rotated, theta)
    if scaling is None or scaling["rope_type"] != "longrope":
        raise UnsupportedError(f"MiniCPM3 is computed with LongRoPE only; this file has {scaling or 'no scaling'}.")
    if keys.number("attention.layer_norm_rms_epsilon") != 1e-5:  # built into two norms of mlx-lm's
        keys.refuse("attention.layer_norm_rms_epsilon")
    positions = keys.integer("context_length")
    original = keys.integer("rope.scaling.original_context_length", positions)
    return {
        "hidden_size": hidden,
        "vocab_size": vocab,
        "num_hidden_layers": keys.layers,
        "intermediate_size": keys.integer("feed_forward_length"),
        "num_attention_heads": keys.heads,
        "num_key_value_heads": keys.kv_heads,
        "q_lora_rank": keys.integer("attention.q_lora_rank"),
        "kv_lora_rank": keys.integer("attention.kv_lora_rank"),
        "qk_rope_head_dim": rotated,
        "qk_nope_head_dim": keys.integer("attention.key_length") - rotated,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": positions,
        "rope_theta": theta,
        "rope_scaling": {**scaling, "original_max_position_embeddings": original},
        "scale_emb": 12.0,
        "scale_depth": 1.4,
        "dim_model_base": 256,
        "attention_bias": False,
        "tie_word_embeddings": False,  # the head is scaled also where it is the embedding
    }


ARCHITECTURE = Architecture(
    model_type="minicpm3",
    names={
        **OUTER,
        **NORMS,
        **{name: target for name, target in QUERIES.items() if "attn_q." not in name},
        "blk.{i}.attn_kv_a_mqa.weight": _ATTN + "kv_a_proj_with_mqa.weight",
        "blk.{i}.attn_kv_a_norm.weight": _ATTN + "kv_a_layernorm.weight",
        "blk.{i}.attn_kv_b.weight": _ATTN + "kv_b_proj.weight",
        "blk.{i}.attn_output.weight": _ATTN + "o_proj.weight",
        **MLP,
    },
    config=_config,
    consumed=(LONG, SHORT),
)
