"""Llama-Nemotron (49B, 253B): Llama with parts of layers taken away; key heads and MLP widths of each layer's own.

A layer without heads has no attention, one of width 0 no MLP (src/models/deci.cpp). Layers whose attention is a single
matrix (query heads but no key heads, in the 51B model) are refused: mlx-lm does not load the published ones.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, OUTER, embedding
from localq.checkpoints.architectures._hybrid import whole_numbers
from localq.checkpoints.architectures._rope import rope_scaling
from localq.checkpoints.architectures._rules import unpermuted
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from localq.checkpoints.keys import ModelKeys
    from localq.formats.base import PackedTensor

_ATTN = LAYER + "self_attn."


def _blocks(keys: ModelKeys) -> list[dict[str, Any]]:
    """mlx-lm's `block_configs`."""
    heads = whole_numbers(keys, "attention.head_count", keys.layers)
    groups = whole_numbers(keys, "attention.head_count_kv", keys.layers)
    widths = whole_numbers(keys, "feed_forward_length", keys.layers)
    blocks = []
    for query, key, width in zip(heads, groups, widths, strict=True):
        if query and not key:
            keys.refuse("attention.head_count_kv")
        attention: dict[str, Any] = {"n_heads_in_group": query // key} if query else {"no_op": True}
        # mlx-lm rounds 2/3 of the product up to a multiple of 256, as the model's authors do
        ffn = {"ffn_mult": (width - 8) * 1.5 / keys.hidden} if width else {"no_op": True}
        if width % 256 or query not in (0, max(heads)):
            raise CheckpointError(f"A layer of this deci file has {query} heads and {width} columns; localq cannot.")
        blocks.append({"attention": attention, "ffn": ffn})
    return blocks


def _rows(keys: ModelKeys, shape: tuple[int, ...]) -> Callable[[PackedTensor], PackedTensor]:
    """Undo Llama's row order for as many heads as the tensor has."""
    return unpermuted(shape, shape[0] // max(_width(keys), 1))


def _width(keys: ModelKeys) -> int:
    """Of a head, the same in all layers that have any."""
    heads = max(whole_numbers(keys, "attention.head_count", keys.layers))
    return keys.integer("attention.key_length", keys.hidden // max(heads, 1))


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    heads = max(whole_numbers(keys, "attention.head_count", keys.layers))
    width, theta = _width(keys), keys.number("rope.freq_base", 10000.0)
    same = (keys.integer("attention.value_length", width), keys.integer("rope.dimension_count", width))
    if same != (width, width) or width * heads != hidden:
        keys.refuse("attention.key_length", "attention.value_length", "rope.dimension_count")
    return {
        "hidden_size": hidden,
        "vocab_size": vocab,
        "num_hidden_layers": keys.layers,
        "num_attention_heads": heads,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": keys.integer("context_length"),
        "rope_theta": theta,
        "rope_scaling": rope_scaling(keys, width, theta),
        "tie_word_embeddings": "output.weight" not in keys.tensors,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "block_configs": _blocks(keys),
    }


ARCHITECTURE = Architecture(
    model_type="nemotron-nas",
    names={
        **OUTER,
        "blk.{i}.attn_norm.weight": Name(LAYER + "input_layernorm.weight", optional=True),
        "blk.{i}.ffn_norm.weight": Name(LAYER + "post_attention_layernorm.weight", optional=True),
        "blk.{i}.attn_q.weight": Name(_ATTN + "q_proj.weight", _rows, optional=True),
        "blk.{i}.attn_k.weight": Name(_ATTN + "k_proj.weight", _rows, optional=True),
        "blk.{i}.attn_v.weight": Name(_ATTN + "v_proj.weight", optional=True),
        "blk.{i}.attn_output.weight": Name(_ATTN + "o_proj.weight", optional=True),
        **{
            f"blk.{{i}}.ffn_{x}.weight": Name(f"{LAYER}mlp.{x}_proj.weight", optional=True)
            for x in ("gate", "up", "down")
        },
    },
    config=_config,
    consumed=("rope_freqs.weight",),
)
