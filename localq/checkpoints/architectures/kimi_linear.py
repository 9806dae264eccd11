"""Kimi Linear: delta attention with a decay for each channel, some latent attention without rope, experts."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, MLP, NORMS, embedding, expert_counts
from localq.checkpoints.architectures._hybrid import (
    any_kind,
    by_kv_heads,
    check_kinds,
    in_turn,
    log_of_minus,
    three_axes,
)
from localq.checkpoints.architectures._mla import join_halves
from localq.checkpoints.architectures._shapes import as_shape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source

_A = LAYER + "self_attn."
_MOE = LAYER + "block_sparse_moe."
_PARTS = {"w1": "gate", "w2": "down", "w3": "up"}
_kinds = by_kv_heads("delta attention", "latent attention")
_SHARED = {
    "blk.{i}.attn_q.weight": _A + "q_proj.weight",
    "blk.{i}.attn_output.weight": _A + "o_proj.weight",
}
_KINDS: dict[str, dict[str, str | Name]] = {
    "latent attention": {
        **_SHARED,
        "blk.{i}.attn_kv_a_mqa.weight": _A + "kv_a_proj_with_mqa.weight",
        "blk.{i}.attn_kv_a_norm.weight": _A + "kv_a_layernorm.weight",
        "blk.{i}.attn_kv_b.weight": Name(_A + "kv_b_proj.weight", optional=True),
        "blk.{i}.attn_k_b.weight": Name(_A + "embed_q.weight", optional=True),
        "blk.{i}.attn_v_b.weight": Name(_A + "unembed_out.weight", optional=True),
    },
    "delta attention": {
        **_SHARED,
        "blk.{i}.attn_k.weight": _A + "k_proj.weight",
        "blk.{i}.attn_v.weight": _A + "v_proj.weight",
        **{f"blk.{{i}}.ssm_conv1d_{x}.weight": f"{_A}{x}_conv1d.weight" for x in ("q", "k", "v")},
        **{f"blk.{{i}}.ssm_{x}.weight": f"{_A}{x}_proj.weight" for x in ("f_a", "f_b", "g_a", "g_b")},
        "blk.{i}.ssm_beta.weight": _A + "b_proj.weight",
        "blk.{i}.ssm_a": Name(_A + "A_log", log_of_minus),
        "blk.{i}.ssm_dt.bias": _A + "dt_bias",
        "blk.{i}.ssm_norm.weight": _A + "o_norm.weight",
    },
}
_FF_KINDS: dict[str, dict[str, str | Name]] = {
    "dense": MLP,
    "expert": {
        "blk.{i}.ffn_gate_inp.weight": _MOE + "gate.weight",
        "blk.{i}.exp_probs_b.bias": _MOE + "gate.e_score_correction_bias",
        **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{_MOE}experts.{{e}}.{w}.weight" for w, x in _PARTS.items()},
        **{f"blk.{{i}}.ffn_{x}_shexp.weight": f"{_MOE}shared_experts.{x}_proj.weight" for x in _PARTS.values()},
    },
}


def _ff_kinds(keys: ModelKeys) -> list[str]:
    dense = keys.integer("leading_dense_block_count", 0)
    return ["dense" if i < dense else "expert" for i in range(keys.layers)]


def _shapes(keys: ModelKeys, pieces: dict[str, Source]) -> None:
    """Decays `[1, 1, heads, 1]`, as Hugging Face has them; the halves of `kv_b_proj` joined where they can be."""
    for i, kind in enumerate(_kinds(keys)):
        if kind == "delta attention":
            name = f"blk.{i}.ssm_a"
            pieces[name] = as_shape(pieces[name], (1, 1, -1, 1))
    join_halves(keys, pieces, [i for i, kind in enumerate(_kinds(keys)) if kind == "latent attention"])


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    experts, used = expert_counts(keys)
    layers = _kinds(keys)
    rotated, width = keys.integer("rope.dimension_count"), keys.integer("attention.key_length_mla")
    for absorbed in ("attention.key_length", "attention.value_length"):
        keys.value(absorbed)  # of the absorbed form; the _mla keys say what the model has
    if keys.integer("expert_gating_func", 2) != 2:  # sigmoid
        keys.refuse("expert_gating_func")
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": keys.layers,
        "num_attention_heads": keys.heads,
        "num_key_value_heads": keys.heads,
        "intermediate_size": keys.integer("feed_forward_length"),
        "head_dim": keys.integer("kda.head_dim"),
        "rope_theta": keys.number("rope.freq_base", 10000.0),
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "linear_attn_config": {
            "num_heads": keys.heads,
            "head_dim": keys.integer("kda.head_dim"),
            "short_conv_kernel_size": keys.integer("ssm.conv_kernel"),
            "kda_layers": [i + 1 for i, kind in enumerate(layers) if kind == "delta attention"],
            "full_attn_layers": [i + 1 for i, kind in enumerate(layers) if kind == "latent attention"],
        },
        "model_max_length": keys.integer("context_length"),
        "max_position_embeddings": keys.integer("context_length"),
        "num_experts": experts,
        "num_experts_per_token": used,
        "num_shared_experts": keys.integer("expert_shared_count"),
        "moe_intermediate_size": keys.integer("expert_feed_forward_length"),
        "moe_router_activation_func": "sigmoid",
        "moe_renormalize": keys.flag("expert_weights_norm", True),
        "routed_scaling_factor": keys.number("expert_weights_scale", 1.0) or 1.0,
        "first_k_dense_replace": _ff_kinds(keys).count("dense"),
        "moe_layer_freq": 1,
        "num_expert_group": keys.integer("expert_group_count", 1) or 1,
        "topk_group": keys.integer("expert_group_used_count", 1) or 1,
        "kv_lora_rank": keys.integer("attention.kv_lora_rank"),
        "qk_rope_head_dim": rotated,
        "qk_nope_head_dim": width - rotated,
        "v_head_dim": keys.integer("attention.value_length_mla"),
        "mla_use_nope": True,
        "tie_word_embeddings": False,
    }


ARCHITECTURE = Architecture(
    model_type="kimi_linear",
    names={
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
        **NORMS,
        **any_kind(_KINDS),
        **any_kind(_FF_KINDS),
    },
    config=_config,
    prepare=in_turn(
        check_kinds(_KINDS, _kinds),
        check_kinds(_FF_KINDS, _ff_kinds),
        three_axes("ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v"),
        _shapes,
    ),
)
