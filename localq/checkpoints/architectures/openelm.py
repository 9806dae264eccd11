"""OpenELM: heads and MLP widths of each layer's own, q, k and v fused, gate and up fused in Hugging Face only."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import embedding
from localq.checkpoints.architectures._joins import fused_names, join_rows
from localq.checkpoints.keys import is_array
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_L = "transformer.layers.{i}."
_GATE_UP = (("ffn_gate", None), ("ffn_up", None))


def _per_layer(keys: ModelKeys, key: str) -> list[int]:
    found = keys.value(key)
    values = list(found) if is_array(found) else [keys.integer(key)] * keys.layers
    if len(values) != keys.layers or not all(type(v) is int and v > 0 for v in values):
        raise CheckpointError(f"'{keys.architecture}.{key}' is no list of {keys.layers} whole numbers.")
    return values


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    width = keys.integer("attention.key_length")
    if keys.integer("attention.value_length", width) != width or keys.integer("rope.dimension_count", width) != width:
        keys.refuse("attention.value_length", "rope.dimension_count")
    return {
        "vocab_size": vocab,
        "model_dim": hidden,
        "head_dim": width,
        "num_transformer_layers": keys.layers,
        "num_query_heads": _per_layer(keys, "attention.head_count"),
        "num_kv_heads": _per_layer(keys, "attention.head_count_kv"),
        # GGUF has the widths themselves; by a divisor of one mlx-lm's rounding gives them back
        "ffn_multipliers": [inner / hidden for inner in _per_layer(keys, "feed_forward_length")],
        "ffn_dim_divisor": 1,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "rope_freq_constant": keys.number("rope.freq_base", 10000.0),
        "max_context_length": keys.integer("context_length"),
        "share_input_output_layers": True,
    }


ARCHITECTURE = Architecture(
    model_type="openelm",
    names={
        "token_embd.weight": "transformer.token_embeddings.weight",
        "output_norm.weight": "transformer.norm.weight",
        "blk.{i}.attn_norm.weight": _L + "attn_norm.weight",
        "blk.{i}.attn_qkv.weight": _L + "attn.qkv_proj.weight",
        "blk.{i}.attn_q_norm.weight": _L + "attn.q_norm.weight",
        "blk.{i}.attn_k_norm.weight": _L + "attn.k_norm.weight",
        "blk.{i}.attn_output.weight": _L + "attn.out_proj.weight",
        "blk.{i}.ffn_norm.weight": _L + "ffn_norm.weight",
        "blk.{i}.ffn_down.weight": _L + "ffn.proj_2.weight",
        **fused_names("ffn_gate_up", _L + "ffn.proj_1", _GATE_UP),
    },
    config=_config,
    prepare=join_rows("ffn_gate_up", _GATE_UP),
)
