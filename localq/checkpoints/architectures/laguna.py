"""Laguna: heads counted by layer, a softplus gate per head or per channel, sigmoid experts after leading dense layers.

Global layers are stretched by YaRN and rotate half of each head; sliding ones do neither (conversion/laguna.py).
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    NORMS,
    OUTER,
    QK_NORMS,
    embedding,
    expert_counts,
    per_layer,
)
from localq.checkpoints.architectures._mla import DENSE, EXPERTS
from localq.checkpoints.architectures._rope import rope_scaling
from localq.checkpoints.keys import is_array
from localq.errors import CheckpointError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    experts, used = expert_counts(keys)
    if keys.integer("expert_gating_func", 0) not in (0, 2) or not keys.flag("expert_weights_norm", False):
        keys.refuse("expert_gating_func", "expert_weights_norm")
    width, inner = keys.integer("expert_feed_forward_length"), keys.integer("expert_shared_feed_forward_length", 0)
    dense = keys.integer("leading_dense_block_count")
    return {
        "hidden_size": hidden,
        "vocab_size": vocab,
        "num_hidden_layers": keys.layers,
        "intermediate_size": keys.integer("feed_forward_length"),
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": keys.integer("context_length"),
        "tie_word_embeddings": "output.weight" not in keys.tensors,
        "num_experts": experts,
        "num_experts_per_tok": used,
        "moe_intermediate_size": width,
        "shared_expert_intermediate_size": inner or width * keys.integer("expert_shared_count", 1),
        "moe_routed_scaling_factor": keys.number("expert_weights_scale", 0.0) or 1.0,
        "mlp_layer_types": ["dense" if i < dense else "sparse" for i in range(keys.layers)],
        **_attention(keys),
    }


def _attention(keys: ModelKeys) -> dict[str, Any]:
    heads = per_layer(keys, "attention.head_count")
    groups = set(per_layer(keys, "attention.head_count_kv"))
    width = keys.integer("attention.key_length")
    if len(groups) != 1 or 0 in groups | set(heads) or keys.integer("attention.value_length", width) != width:
        keys.refuse("attention.head_count_kv", "attention.key_length", "attention.value_length")
    window, sliding = keys.integer("attention.sliding_window", 0), _sliding(keys)
    return {
        "num_attention_heads": max(heads),
        "num_attention_heads_per_layer": heads,
        "num_key_value_heads": groups.pop(),
        "head_dim": width,
        "gating": _gates(keys, heads, width),
        "sliding_window": window or None,
        "layer_types": ["sliding_attention" if flag else "full_attention" for flag in sliding],
        "rope_parameters": _ropes(keys, width, bool(window)),
    }


def _sliding(keys: ModelKeys) -> list[bool]:
    """One flag a layer, or the first of every four layers is global (src/models/laguna.cpp)."""
    name = "attention.sliding_window_pattern"
    found = keys.value(name)
    if keys.integer("attention.sliding_window", 0) == 0:
        return [False] * keys.layers
    if not is_array(found):
        period = keys.integer(name, 4)
        flags = [period == 0 or i % period != 0 for i in range(keys.layers)]
    else:
        flags = [bool(one) for one in found][: keys.layers]
    if len(flags) != keys.layers or all(flags):  # mlx-lm makes its masks from the first global layer
        keys.refuse(name)
    return flags


def _gates(keys: ModelKeys, heads: list[int], width: int) -> str:
    """Whether the gates are one per head or one per channel, told by their rows."""
    rows = [keys.shape(f"blk.{i}.attn_gate.weight")[0] for i in range(keys.layers)]
    if rows == heads:
        return "per-head"
    if rows == [count * width for count in heads]:
        return "per-element"
    raise CheckpointError(f"'attn_gate' of this laguna file has {rows[:4]} rows for {heads[:4]} heads of {width}.")


def _ropes(keys: ModelKeys, width: int, slides: bool) -> dict[str, Any]:
    rotated, theta = keys.integer("rope.dimension_count", width), keys.number("rope.freq_base", 10000.0)
    scaling = rope_scaling(keys, rotated, theta)
    if scaling is not None and scaling["rope_type"] not in ("yarn", "linear"):
        raise UnsupportedError(
            f"This laguna file scales its rope by '{scaling['rope_type']}'; localq knows yarn there."
        )
    ropes = {
        "full_attention": {
            **(scaling or {"rope_type": "default"}),
            "rope_theta": theta,
            "partial_rotary_factor": rotated / width,
        }
    }
    local, base = keys.integer("rope.dimension_count_swa", rotated), keys.number("rope.freq_base_swa", theta)
    if slides:
        near = {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": local / width}
        ropes["sliding_attention"] = near
    return ropes


ARCHITECTURE = Architecture(
    model_type="laguna",
    names={
        **OUTER,
        **NORMS,
        **ATTENTION,
        **QK_NORMS,
        "blk.{i}.attn_gate.weight": LAYER + "self_attn.g_proj.weight",
        **DENSE,
        **{n: t for n, t in EXPERTS.items() if "shexp" not in n},
        "blk.{i}.exp_probs_b.bias": Name(LAYER + "mlp.experts.e_score_correction_bias", optional=True),
        **{
            f"blk.{{i}}.ffn_{x}_shexp.weight": Name(f"{LAYER}mlp.shared_expert.{x}_proj.weight", optional=True)
            for x in ("gate", "up", "down")
        },
    },
    config=_config,
)
