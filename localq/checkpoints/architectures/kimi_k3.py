"""Kimi K3 (text): Kimi Linear with residuals that look across layers, experts in a narrower space, gated attention.

The published model also sees, so the config is nested and the names begin with `language_model.`. Of each residual's
norm and projection GGUF keeps the product alone (conversion/kimi_k3.py): it stands for the projection, and
`norms_in_projections` in the config says that the norm's weights are ones.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import embedding, expert_counts
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
from localq.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source

_M = "language_model."
_L = _M + "model.layers.{i}."
_A, _MOE = _L + "self_attn.", _L + "block_sparse_moe."
_PARTS = {"gate": "w1", "down": "w2", "up": "w3"}
_RESIDUALS = {"attn_res_score": "self_attention_res_proj", "ffn_res_score": "mlp_res_proj"}
_kinds = by_kv_heads("delta attention", "latent attention")
_KINDS: dict[str, dict[str, str | Name]] = {
    "latent attention": {
        "blk.{i}.attn_q.weight": Name(_A + "q_proj.weight", optional=True),
        "blk.{i}.attn_q_a.weight": Name(_A + "q_a_proj.weight", optional=True),
        "blk.{i}.attn_q_a_norm.weight": Name(_A + "q_a_layernorm.weight", optional=True),
        "blk.{i}.attn_q_b.weight": Name(_A + "q_b_proj.weight", optional=True),
        "blk.{i}.attn_kv_a_mqa.weight": _A + "kv_a_proj_with_mqa.weight",
        "blk.{i}.attn_kv_a_norm.weight": _A + "kv_a_layernorm.weight",
        "blk.{i}.attn_kv_b.weight": Name(_A + "kv_b_proj.weight", optional=True),
        "blk.{i}.attn_k_b.weight": Name(_A + "embed_q.weight", optional=True),
        "blk.{i}.attn_v_b.weight": Name(_A + "unembed_out.weight", optional=True),
        "blk.{i}.attn_gate.weight": Name(_A + "g_proj.weight", optional=True),
        "blk.{i}.attn_output.weight": _A + "o_proj.weight",
    },
    "delta attention": {
        **{f"blk.{{i}}.attn_{x}.weight": f"{_A}{x}_proj.weight" for x in "qkv"},
        **{f"blk.{{i}}.ssm_conv1d_{x}.weight": f"{_A}{x}_conv1d.weight" for x in "qkv"},
        **{f"blk.{{i}}.ssm_{x}.weight": f"{_A}{x}_proj.weight" for x in ("f_a", "f_b", "g")},
        "blk.{i}.ssm_beta.weight": _A + "b_proj.weight",
        "blk.{i}.ssm_a": Name(_A + "A_log", log_of_minus),
        "blk.{i}.ssm_dt.bias": _A + "dt_bias",
        "blk.{i}.ssm_norm.weight": _A + "o_norm.weight",
        "blk.{i}.attn_output.weight": _A + "o_proj.weight",
    },
}
_FF_KINDS: dict[str, dict[str, str | Name]] = {
    "dense": {f"blk.{{i}}.ffn_{x}.weight": f"{_L}mlp.{x}_proj.weight" for x in _PARTS},
    "expert": {
        "blk.{i}.ffn_gate_inp.weight": _MOE + "gate.weight",
        "blk.{i}.exp_probs_b.bias": _MOE + "gate.e_score_correction_bias",
        **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{_MOE}experts.{{e}}.{w}.weight" for x, w in _PARTS.items()},
        **{
            f"blk.{{i}}.ffn_{x}_shexp.weight": Name(f"{_MOE}shared_experts.{x}_proj.weight", optional=True)
            for x in _PARTS
        },
        **{
            f"blk.{{i}}.ffn_routed_{x}.weight": Name(f"{_MOE}routed_expert_{hf}.weight", optional=True)
            for x, hf in (("down", "down_proj"), ("up", "up_proj"), ("norm", "norm"))
        },
    },
}


def _ff_kinds(keys: ModelKeys) -> list[str]:
    dense = keys.integer("leading_dense_block_count", 0)
    return ["dense" if i < dense else "expert" for i in range(keys.layers)]


def _shapes(keys: ModelKeys, pieces: dict[str, Source]) -> None:
    """Residuals' scores as projections to one value; the halves of `kv_b_proj` joined where they can be."""
    for name in ["output_res_score.weight", *(f"blk.{i}.{x}.weight" for i in range(keys.layers) for x in _RESIDUALS)]:
        if name in pieces:
            pieces[name] = as_shape(pieces[name], (1, -1))
    for i in (i for i, kind in enumerate(_kinds(keys)) if kind == "delta attention"):
        pieces[f"blk.{i}.ssm_a"] = as_shape(pieces[f"blk.{i}.ssm_a"], (-1,))
    join_halves(keys, pieces, [i for i, kind in enumerate(_kinds(keys)) if kind == "latent attention"])


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    for absorbed in ("attention.key_length", "attention.value_length", "rope.freq_base"):
        keys.value(absorbed)  # of the absorbed form, and of a rope that no layer has
    positions = keys.integer("context_length")
    text = {
        "model_type": "kimi_linear",
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": keys.layers,
        "num_attention_heads": keys.heads,
        "num_key_value_heads": keys.heads,
        "intermediate_size": keys.integer("feed_forward_length"),
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": positions,
        "tie_word_embeddings": False,
        "hidden_act": "situ",
        "activation_situ_beta": keys.number("activation.situ_beta"),
        "activation_situ_linear_beta": keys.number("activation.situ_linear_beta", 0.0) or None,
        "attn_res_block_size": keys.integer("attn_res.block_size", 0) or None,
        "norms_in_projections": True,
        **_attention(keys),
        **_experts(keys),
    }
    return {"text_config": text, "max_position_embeddings": positions}


def _attention(keys: ModelKeys) -> dict[str, Any]:
    layers = _kinds(keys)
    rotated, width = keys.integer("rope.dimension_count"), keys.integer("attention.key_length_mla")
    bound = keys.number("kda.gate_lower_bound", 0.0)
    latent = [i for i, kind in enumerate(layers) if kind == "latent attention"]
    gates = {f"blk.{i}.attn_gate.weight" in keys.tensors for i in latent}
    if len(gates) > 1:
        raise UnsupportedError("Some latent layers of this kimi-k3 file have gates, others have not.")
    return {
        "q_lora_rank": keys.integer("attention.q_lora_rank", 0) or None,
        "kv_lora_rank": keys.integer("attention.kv_lora_rank"),
        "qk_rope_head_dim": rotated,
        "qk_nope_head_dim": width - rotated,
        "v_head_dim": keys.integer("attention.value_length_mla"),
        "mla_use_nope": True,
        "mla_use_output_gate": True in gates,
        "linear_attn_config": {
            "num_heads": keys.heads,
            "head_dim": keys.integer("kda.head_dim"),
            "short_conv_kernel_size": keys.integer("ssm.conv_kernel"),
            "gate_lower_bound": bound or None,
            "use_full_rank_gate": True,
            "kda_layers": [i + 1 for i, kind in enumerate(layers) if kind == "delta attention"],
            "full_attn_layers": [i + 1 for i in latent],
        },
    }


def _experts(keys: ModelKeys) -> dict[str, Any]:
    count, used = expert_counts(keys)
    if keys.integer("expert_gating_func") != 2:
        keys.refuse("expert_gating_func")
    narrow = keys.integer("expert_latent_length", 0)
    first = _ff_kinds(keys).count("dense")
    return {
        "num_experts": count,
        "num_experts_per_token": used,
        "num_shared_experts": keys.integer("expert_shared_count"),
        "moe_intermediate_size": keys.integer("expert_feed_forward_length"),
        "moe_router_activation_func": "sigmoid",
        "moe_renormalize": keys.flag("expert_weights_norm", False),
        "routed_scaling_factor": keys.number("expert_weights_scale", 0.0) or 1.0,
        "first_k_dense_replace": first,
        "moe_layer_freq": 1,
        "num_expert_group": keys.integer("expert_group_count", 1) or 1,
        "topk_group": keys.integer("expert_group_used_count", 1) or 1,
        "routed_expert_hidden_size": narrow or None,
        "latent_moe_use_norm": f"blk.{first}.ffn_routed_norm.weight" in keys.tensors,
    }


ARCHITECTURE = Architecture(
    model_type="kimi_k3",
    names={
        "token_embd.weight": _M + "model.embed_tokens.weight",
        "output_norm.weight": _M + "model.norm.weight",
        "output.weight": _M + "lm_head.weight",
        "output_res_score.weight": Name(_M + "model.output_attn_res_proj.weight", optional=True),
        **{f"blk.{{i}}.{stored}.weight": Name(f"{_L}{hf}.weight", optional=True) for stored, hf in _RESIDUALS.items()},
        "blk.{i}.attn_norm.weight": _L + "input_layernorm.weight",
        "blk.{i}.ffn_norm.weight": _L + "post_attention_layernorm.weight",
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
