"""MiMo V2 Flash and V2.5: sliding layers with heads and sinks of their own, values narrower than keys, experts."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    NORMS,
    OUTER,
    embedding,
    expert_counts,
    per_layer,
    sliding_layers,
)
from localq.checkpoints.architectures._mla import DENSE, EXPERTS
from localq.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    experts, used = expert_counts(keys)
    if keys.integer("expert_gating_func", 2) != 2 or not keys.flag("expert_weights_norm", True):
        keys.refuse("expert_gating_func", "expert_weights_norm")  # sigmoid and a sum of one: src/models/mimo2.cpp
    return {
        "hidden_size": hidden,
        "vocab_size": vocab,
        "num_hidden_layers": keys.layers,
        "intermediate_size": keys.integer("feed_forward_length"),
        "layernorm_epsilon": keys.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": keys.integer("context_length"),
        "tie_word_embeddings": False,
        "n_routed_experts": experts,
        "n_shared_experts": None,
        "num_experts_per_tok": used,
        "moe_intermediate_size": keys.integer("expert_feed_forward_length"),
        "moe_layer_freq": [int(f"blk.{i}.ffn_gate_inp.weight" in keys.tensors) for i in range(keys.layers)],
        "routed_scaling_factor": keys.number("expert_weights_scale", 0.0) or 1.0,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "norm_topk_prob": True,
        "n_group": 1,
        "topk_group": 1,
        "attention_value_scale": keys.number("attention.value_scale", 0.0) or None,
        **_attention(keys),
    }


def _attention(keys: ModelKeys) -> dict[str, Any]:
    sliding = sliding_layers(keys, period=0)
    if len(set(sliding)) != 2:  # mlx-lm looks for one layer of each kind
        keys.refuse("attention.sliding_window_pattern")
    counts = per_layer(keys, "attention.head_count_kv")
    local = {n for n, flag in zip(counts, sliding, strict=True) if flag}
    whole = {n for n, flag in zip(counts, sliding, strict=True) if not flag}
    if len(local) > 1 or len(whole) > 1 or 0 in local | whole:
        keys.refuse("attention.head_count_kv")
    width = keys.integer("attention.key_length")
    values = keys.integer("attention.value_length", width)
    theta = keys.number("rope.freq_base", 10000.0)
    return {
        "num_attention_heads": keys.heads,
        "num_key_value_heads": min(whole),
        "swa_num_attention_heads": keys.heads,
        "swa_num_key_value_heads": min(local),
        "head_dim": width,
        "swa_head_dim": width,
        "v_head_dim": values,
        "swa_v_head_dim": values,
        "partial_rotary_factor": keys.integer("rope.dimension_count", width) / width,
        "rope_theta": theta,
        "swa_rope_theta": keys.number("rope.freq_base_swa", 10000.0),
        "sliding_window_size": keys.integer("attention.sliding_window"),
        "hybrid_layer_pattern": [int(flag) for flag in sliding],
        "add_swa_attention_sink_bias": _sinks(keys, sliding, True),
        "add_full_attention_sink_bias": _sinks(keys, sliding, False),
    }


def _sinks(keys: ModelKeys, sliding: list[bool], kind: bool) -> bool:
    there = {f"blk.{i}.attn_sinks.weight" in keys.tensors for i, flag in enumerate(sliding) if flag is kind}
    if len(there) > 1:
        raise UnsupportedError("Some layers of one kind in this mimo2 file have attention sinks, others have not.")
    return True in there


ARCHITECTURE = Architecture(
    model_type="mimo_v2_flash",
    names={
        **OUTER,
        "output.weight": "lm_head.weight",
        **NORMS,
        **ATTENTION,
        "blk.{i}.attn_sinks.weight": Name(LAYER + "self_attn.attention_sink_bias", optional=True),
        **DENSE,
        **{name: target for name, target in EXPERTS.items() if "shexp" not in name},
    },
    config=_config,
)
