"""Gemma 4 (text): heads of two widths, layers that share keys and values, per-layer embeddings or experts.

Norms are stored as they are. Global layers rotate a part of each head, which the file says with divisors of 1e30 for
the rest (`Gemma4Model.generate_extra_tensors`, conversion/gemma.py), and may use their keys as values. Hugging Face
keeps the experts' gate and up in one stack; the names here are mlx-lm's, which are apart, as GGUF's may be.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    MLP,
    OUTER,
    QK_NORMS,
    embedding,
    expert_counts,
    per_layer,
    sliding_layers,
)
from localq.checkpoints.keys import ModelKeys
from localq.errors import CheckpointError, UnsupportedError

_EXPERTS: dict[str, str] = {
    "blk.{i}.ffn_gate_inp.weight": "router.proj.weight",
    "blk.{i}.ffn_gate_inp.scale": "router.scale",
    "blk.{i}.ffn_down_exps.scale": "router.per_expert_scale",
    "blk.{i}.ffn_gate_exps.weight": "experts.switch_glu.gate_proj.weight",
    "blk.{i}.ffn_up_exps.weight": "experts.switch_glu.up_proj.weight",
    "blk.{i}.ffn_down_exps.weight": "experts.down_proj",
    "blk.{i}.pre_ffw_norm_2.weight": "pre_feedforward_layernorm_2.weight",
    "blk.{i}.post_ffw_norm_1.weight": "post_feedforward_layernorm_1.weight",
    "blk.{i}.post_ffw_norm_2.weight": "post_feedforward_layernorm_2.weight",
}
_PER_LAYER: dict[str, str] = {
    "per_layer_token_embd.weight": "model.embed_tokens_per_layer.weight",
    "per_layer_model_proj.weight": "model.per_layer_model_projection.weight",
    "per_layer_proj_norm.weight": "model.per_layer_projection_norm.weight",
    "blk.{i}.inp_gate.weight": LAYER + "per_layer_input_gate.weight",
    "blk.{i}.proj.weight": LAYER + "per_layer_projection.weight",
    "blk.{i}.post_norm.weight": LAYER + "post_per_layer_input_norm.weight",
}


def _optional(names: dict[str, str], before: str = "") -> dict[str, str | Name]:
    return {stored: Name(before + hf, optional=True) for stored, hf in names.items()}


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    sliding = sliding_layers(keys, period=0)
    if keys.value("attention.sliding_window_pattern") is None:
        raise CheckpointError("The GGUF file lacks the key 'gemma4.attention.sliding_window_pattern'.")
    return {
        "hidden_size": hidden,
        "vocab_size": vocab,
        "num_hidden_layers": keys.layers,
        "num_attention_heads": keys.heads,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": keys.integer("context_length"),
        "sliding_window": keys.integer("attention.sliding_window"),
        "layer_types": ["sliding_attention" if flag else "full_attention" for flag in sliding],
        # Without the key llama.cpp takes 30 (src/llama-hparams.h), as mlx-lm does
        "final_logit_softcapping": keys.number("final_logit_softcapping", 30.0) or None,
        "tie_word_embeddings": "output.weight" not in keys.tensors,
        **_heads(keys, sliding),
        **_rope(keys),
        **_widths(keys),
        **_embeddings(keys),
    }


def _heads(keys: ModelKeys, sliding: list[bool]) -> dict[str, Any]:
    """Key and value heads; the global layers' own number goes with values that are their keys."""
    counts = per_layer(keys, "attention.head_count_kv", keys.heads)
    local = {n for n, flag in zip(counts, sliding, strict=True) if flag}
    whole = {n for n, flag in zip(counts, sliding, strict=True) if not flag}
    if len(local) > 1 or len(whole) > 1 or 0 in local | whole:
        keys.refuse("attention.head_count_kv")
    shared = keys.integer("attention.shared_kv_layers", 0)
    own = [i for i, flag in enumerate(sliding) if not flag and i < keys.layers - shared]
    without = {f"blk.{i}.attn_v.weight" not in keys.tensors for i in own}
    if len(without) > 1:
        raise UnsupportedError("Some global layers of this gemma4 file have values of their own, others do not.")
    same = without == {True}
    if not same and local and whole and local != whole:
        keys.refuse("attention.head_count_kv")
    widths = keys.integer("attention.key_length"), keys.integer("attention.key_length_swa")
    values = keys.integer("attention.value_length", widths[0]), keys.integer("attention.value_length_swa", widths[1])
    if widths != values:
        keys.refuse("attention.value_length", "attention.value_length_swa")
    return {
        "num_key_value_heads": min(local or whole),
        "num_global_key_value_heads": min(whole) if same else None,
        "attention_k_eq_v": same,
        "num_kv_shared_layers": shared,
        "head_dim": widths[1],
        "global_head_dim": widths[0],
    }


def _rope(keys: ModelKeys) -> dict[str, Any]:
    width, local = keys.integer("attention.key_length"), keys.integer("attention.key_length_swa")
    if keys.integer("rope.dimension_count", width) != width or keys.integer("rope.dimension_count_swa", local) != local:
        keys.refuse("rope.dimension_count", "rope.dimension_count_swa")
    divisors = keys.small("rope_freqs.weight") or []
    rotated = sum(d == 1.0 for d in divisors)
    if (
        len(divisors) != width // 2
        or divisors[:rotated] != [1.0] * rotated
        or min(divisors[rotated:], default=1e30) < 1e29
    ):
        raise UnsupportedError(
            f"'rope_freqs.weight' of this gemma4 file ({len(divisors)} divisors) is not 1 for the rotated and 1e30 "
            f"for the other of {width // 2} pairs."
        )
    return {
        "rope_parameters": {
            "full_attention": {
                "rope_type": "proportional",
                "rope_theta": keys.number("rope.freq_base", 10000.0),
                "partial_rotary_factor": 2 * rotated / width,
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": keys.number("rope.freq_base_swa", 10000.0)},
        }
    }


def _widths(keys: ModelKeys) -> dict[str, Any]:
    """Widths of the feed-forward layers: those that share keys and values may be twice as wide."""
    inner = per_layer(keys, "feed_forward_length")
    own = keys.layers - keys.integer("attention.shared_kv_layers", 0)
    double = inner != [inner[0]] * keys.layers
    if double and inner != [inner[0]] * own + [2 * inner[0]] * (keys.layers - own):
        keys.refuse("feed_forward_length")
    config = {"intermediate_size": inner[0], "use_double_wide_mlp": double, "enable_moe_block": False}
    if keys.integer("expert_count", 0) == 0:
        return config
    experts, used = expert_counts(keys)
    width = keys.integer("expert_feed_forward_length")
    return {
        **config,
        "enable_moe_block": True,
        "num_experts": experts,
        "top_k_experts": used,
        "moe_intermediate_size": width,
    }


def _embeddings(keys: ModelKeys) -> dict[str, Any]:
    width = keys.integer("embedding_length_per_layer_input", 0)
    if not width:
        return {"hidden_size_per_layer_input": 0}
    rows = keys.shape("per_layer_token_embd.weight")[0]
    return {"hidden_size_per_layer_input": width, "vocab_size_per_layer_input": rows}


def _missing_parts(keys: ModelKeys) -> Architecture:
    """The tensors a file must have follow from its keys."""
    experts = keys.integer("expert_count", 0) > 0
    embeddings = keys.integer("embedding_length_per_layer_input", 0) > 0
    return ARCHITECTURE._replace(
        names={
            **ARCHITECTURE.names,
            **({n: LAYER + hf for n, hf in _EXPERTS.items()} if experts else {}),
            **(_PER_LAYER if embeddings else {}),
        }
    )


ARCHITECTURE = Architecture(
    model_type="gemma4_text",
    names={
        **OUTER,
        **ATTENTION,
        **QK_NORMS,
        "blk.{i}.attn_k.weight": Name(LAYER + "self_attn.k_proj.weight", optional=True),
        "blk.{i}.attn_v.weight": Name(LAYER + "self_attn.v_proj.weight", optional=True),
        "blk.{i}.attn_k_norm.weight": Name(LAYER + "self_attn.k_norm.weight", optional=True),
        **MLP,
        "blk.{i}.attn_norm.weight": LAYER + "input_layernorm.weight",
        "blk.{i}.post_attention_norm.weight": LAYER + "post_attention_layernorm.weight",
        "blk.{i}.ffn_norm.weight": LAYER + "pre_feedforward_layernorm.weight",
        "blk.{i}.post_ffw_norm.weight": LAYER + "post_feedforward_layernorm.weight",
        "blk.{i}.layer_output_scale.weight": Name(LAYER + "layer_scalar", optional=True),
        **_optional(_EXPERTS, LAYER),
        **_optional(_PER_LAYER),
    },
    config=_config,
    consumed=("rope_freqs.weight",),
    choose=_missing_parts,
)
