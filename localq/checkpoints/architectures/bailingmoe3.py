"""Ling 3: delta attention with a decay for each channel, each n-th layer latent attention with gates, experts."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, MLP, NORMS, embedding, expert_counts
from localq.checkpoints.architectures._hybrid import (
    any_kind,
    by_kv_heads,
    check_kinds,
    floats,
    in_turn,
    three_axes,
)
from localq.checkpoints.architectures._mla import join_halves, yarn
from localq.checkpoints.architectures._shapes import as_shape
from localq.checkpoints.keys import is_array
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.architectures import Change
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source
    from localq.formats.base import PackedTensor

_A, _MOE = LAYER + "attention.", LAYER + "mlp."
_PARTS = ("gate", "up", "down")
_kinds = by_kv_heads("delta attention", "latent attention")


def _logarithm(keys: ModelKeys, shape: tuple[int, ...]) -> Change:
    """`A_log` again from exp(A_log), in float32."""

    def change(t: PackedTensor) -> PackedTensor:
        import numpy as np

        values = t.dequantize().astype(np.float64)
        if not (values > 0).all():
            raise CheckpointError("A decay (ssm_a) is not above zero; the file is damaged.")
        return floats(np.log(values).astype(np.float32))

    return change


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
        "blk.{i}.attn_gate.weight": _A + "g_proj.weight",
        "blk.{i}.attn_dense.weight": _A + "dense.weight",  # attn_output in the file: see _outputs
    },
    "delta attention": {
        **{f"blk.{{i}}.attn_{x}.weight": f"{_A}{x}_proj.weight" for x in "qkv"},
        **{f"blk.{{i}}.ssm_conv1d_{x}.weight": f"{_A}{x}_conv1d.weight" for x in "qkv"},
        "blk.{i}.ssm_f_a.weight": _A + "f_proj.weight",
        "blk.{i}.ssm_g_a.weight": _A + "g_proj.weight",
        "blk.{i}.ssm_beta.weight": _A + "b_proj.weight",
        "blk.{i}.ssm_a": Name(_A + "A_log", _logarithm),
        "blk.{i}.ssm_dt.bias": _A + "dt_bias",
        "blk.{i}.ssm_norm.weight": _A + "o_norm.weight",
        "blk.{i}.attn_output.weight": _A + "o_proj.weight",
    },
}
_FF_KINDS: dict[str, dict[str, str | Name]] = {
    "dense": MLP,
    "expert": {
        "blk.{i}.ffn_gate_inp.weight": _MOE + "gate.weight",
        "blk.{i}.exp_probs_b.bias": _MOE + "gate.expert_bias",
        **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{_MOE}experts.{{e}}.{x}_proj.weight" for x in _PARTS},
        **{f"blk.{{i}}.ffn_{x}_shexp.weight": f"{_MOE}shared_experts.{x}_proj.weight" for x in _PARTS},
    },
}


def _ff_kinds(keys: ModelKeys) -> list[str]:
    dense = keys.integer("leading_dense_block_count", 0)
    return ["dense" if i < dense else "expert" for i in range(keys.layers)]


def _outputs(keys: ModelKeys, pieces: dict[str, Source]) -> None:
    """The output of latent attention has a name of its own in the published weights."""
    for i, kind in enumerate(_kinds(keys)):
        if kind == "latent attention" and f"blk.{i}.attn_output.weight" in pieces:
            pieces[f"blk.{i}.attn_dense.weight"] = pieces.pop(f"blk.{i}.attn_output.weight")


def _shapes(keys: ModelKeys, pieces: dict[str, Source]) -> None:
    """Decays in one row; the halves of `kv_b_proj` joined where they can be."""
    for i, kind in enumerate(_kinds(keys)):
        if kind == "delta attention":
            pieces[f"blk.{i}.ssm_a"] = as_shape(pieces[f"blk.{i}.ssm_a"], (-1,))
    join_halves(keys, pieces, [i for i, kind in enumerate(_kinds(keys)) if kind == "latent attention"])


def _group(keys: ModelKeys) -> int:
    """`layer_group_size`: the last layer of each group, and what makes no full group, is latent attention."""
    latent = [kind == "latent attention" for kind in _kinds(keys)]
    size = latent.index(True) + 1 if True in latent else 0
    whole = keys.layers // size * size if size else 0
    if not size or [(i + 1) % size == 0 or i >= whole for i in range(keys.layers)] != latent:
        keys.refuse("attention.head_count_kv")
    return size


def _refuse_limits(keys: ModelKeys) -> None:
    """Activations that are clamped, which mlx-lm does not do in this architecture."""
    for key in ("swiglu_clamp_exp", "swiglu_clamp_shexp"):
        found = keys.value(key)
        if any(found if is_array(found) else [found or 0.0]):
            keys.refuse(key)


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    experts, used = expert_counts(keys)
    rotated, width = keys.integer("rope.dimension_count"), keys.integer("attention.key_length_mla")
    for absorbed in ("attention.key_length", "attention.value_length"):
        keys.value(absorbed)  # of the absorbed form; the _mla keys say what the model has
    if keys.integer("expert_gating_func") != 2 or not keys.flag("expert_weights_norm", False):
        keys.refuse("expert_gating_func", "expert_weights_norm")
    if not keys.flag("kda.safe_gate", True) or keys.number("kda.gate_lower_bound") >= 0:
        keys.refuse("kda.safe_gate", "kda.gate_lower_bound")
    _refuse_limits(keys)
    inner = keys.integer("expert_feed_forward_length")
    shared = keys.integer("expert_shared_feed_forward_length", 0)
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": keys.layers,
        "num_attention_heads": keys.heads,
        "intermediate_size": keys.integer("feed_forward_length"),
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": keys.integer("context_length"),
        "tie_word_embeddings": "output.weight" not in keys.tensors,
        "rope_theta": keys.number("rope.freq_base", 10000.0),
        "rope_scaling": yarn(keys, rotated),
        "rope_interleave": True,
        "layer_group_size": _group(keys),
        "head_dim": keys.integer("kda.head_dim"),
        "short_conv_kernel_size": keys.integer("ssm.conv_kernel"),
        "kda_lower_bound": keys.number("kda.gate_lower_bound"),
        "kda_safe_gate": True,
        "no_kda_lora": True,
        "q_lora_rank": keys.integer("attention.q_lora_rank", 0) or None,
        "kv_lora_rank": keys.integer("attention.kv_lora_rank"),
        "qk_rope_head_dim": rotated,
        "qk_nope_head_dim": width - rotated,
        "v_head_dim": keys.integer("attention.value_length_mla"),
        "num_experts": experts,
        "num_experts_per_tok": used,
        "moe_intermediate_size": inner,
        "moe_shared_expert_intermediate_size": shared or inner * keys.integer("expert_shared_count", 1),
        "num_shared_experts": 1 if keys.integer("expert_shared_count", 1) else 0,
        "first_k_dense_replace": _ff_kinds(keys).count("dense"),
        "routed_scaling_factor": keys.number("expert_weights_scale", 0.0) or 1.0,
        "n_group": keys.integer("expert_group_count", 1) or 1,
        "topk_group": keys.integer("expert_group_used_count", 1) or 1,
    }


ARCHITECTURE = Architecture(
    model_type="bailing_moe_v3",
    names={
        "token_embd.weight": "model.word_embeddings.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": Name("lm_head.weight", optional=True),
        **NORMS,
        **any_kind(_KINDS),
        **any_kind(_FF_KINDS),
    },
    config=_config,
    prepare=in_turn(
        _outputs,
        check_kinds(_KINDS, _kinds),
        check_kinds(_FF_KINDS, _ff_kinds),
        three_axes("ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v"),
        _shapes,
    ),
)
