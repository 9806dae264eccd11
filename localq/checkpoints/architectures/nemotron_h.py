"""Nemotron-H and Nemotron 3: layers of Mamba-2, attention without rope, or an MLP (dense or of experts)."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import biases, embedding, expert_counts, has_biases
from localq.checkpoints.architectures._hybrid import any_kind, check_kinds, in_turn, kv_heads_of, the_one, whole_numbers
from localq.checkpoints.architectures._mamba2 import flat, has_conv_bias, mixer, no_limit, sizes
from localq.checkpoints.architectures._rules import key_rows, query_rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_MIXER = "backbone.layers.{i}.mixer."
_ATTENTION: dict[str, str | Name] = {
    # The converter reorders queries and keys as for Llama, although nothing rotates them
    "blk.{i}.attn_q.weight": Name(_MIXER + "q_proj.weight", query_rows),
    "blk.{i}.attn_k.weight": Name(_MIXER + "k_proj.weight", key_rows),
    "blk.{i}.attn_v.weight": _MIXER + "v_proj.weight",
    "blk.{i}.attn_output.weight": _MIXER + "o_proj.weight",
}
_MLP: dict[str, str | Name] = {f"blk.{{i}}.ffn_{x}.weight": f"{_MIXER}{x}_proj.weight" for x in ("up", "down")}
_EXPERTS: dict[str, str | Name] = {
    "blk.{i}.ffn_gate_inp.weight": _MIXER + "gate.weight",
    "blk.{i}.exp_probs_b.bias": _MIXER + "gate.e_score_correction_bias",
    **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{_MIXER}experts.{{e}}.{x}_proj.weight" for x in ("up", "down")},
    **{f"blk.{{i}}.ffn_{x}_shexp.weight": f"{_MIXER}shared_experts.{x}_proj.weight" for x in ("up", "down")},
    "blk.{i}.ffn_latent_down.weight": Name(_MIXER + "fc1_latent_proj.weight", optional=True),
    "blk.{i}.ffn_latent_up.weight": Name(_MIXER + "fc2_latent_proj.weight", optional=True),
}
_OUTER: dict[str, str | Name] = {
    "token_embd.weight": "backbone.embeddings.weight",
    "output_norm.weight": "backbone.norm_f.weight",
    "output.weight": "lm_head.weight",
    "blk.{i}.attn_norm.weight": "backbone.layers.{i}.norm.weight",
}
_PATTERN = {"state-space": "M", "attention": "*", "MLP": "-", "expert": "E"}


def kinds(keys: ModelKeys) -> list[str]:
    """Kind of every layer (src/models/nemotron-h.cpp): keys and values, a feed-forward width, or neither."""
    widths = whole_numbers(keys, "feed_forward_length", keys.layers)
    found = []
    for i, (kv, width) in enumerate(zip(kv_heads_of(keys), widths, strict=True)):
        if kv and width:
            keys.refuse("attention.head_count_kv", "feed_forward_length")
        experts = f"blk.{i}.ffn_gate_inp.weight" in keys.tensors
        found.append("attention" if kv else "state-space" if not width else "expert" if experts else "MLP")
    return found


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    found, layers = sizes(keys), kinds(keys)
    epsilon = keys.number("attention.layer_norm_rms_epsilon", keys.number("attention.layer_norm_epsilon", 1e-5))
    keys.value("attention.layer_norm_epsilon")
    widths = whole_numbers(keys, "feed_forward_length", keys.layers)
    for unused in ("rope.dimension_count", "rope.freq_base"):  # written by the converter; there is no rope
        keys.value(unused)
    return {
        "vocab_size": vocab,
        "hidden_size": hidden,
        "num_hidden_layers": keys.layers,
        "hybrid_override_pattern": "".join(_PATTERN[kind] for kind in layers),
        "intermediate_size": the_one(keys, "feed_forward_length", widths) if "MLP" in layers else 0,
        "max_position_embeddings": keys.integer("context_length"),
        "num_attention_heads": keys.heads,
        "num_key_value_heads": keys.kv_heads,
        "head_dim": keys.head_dim,
        "attention_bias": has_biases(keys, "attn_q", "attn_k", "attn_v", "attn_output"),
        "mamba_num_heads": found.heads,
        "mamba_head_dim": found.width,
        "mamba_proj_bias": False,
        "ssm_state_size": found.state,
        "conv_kernel": found.taps,
        "n_groups": found.groups,
        "mlp_bias": False,
        "use_bias": False,
        "use_conv_bias": has_conv_bias(keys, [i for i, kind in enumerate(layers) if kind == "state-space"]),
        "layer_norm_epsilon": epsilon,
        "time_step_limit": no_limit(),
        "tie_word_embeddings": False,
        **(_experts(keys, widths) if "expert" in layers else {}),
    }


def _experts(keys: ModelKeys, widths: list[int]) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    groups = keys.integer("expert_group_count", 1) or 1
    group_used = keys.integer("expert_group_used_count", groups) or groups
    if keys.integer("expert_gating_func", 2) != 2:  # sigmoid, as src/models/nemotron-h.cpp has it whatever the key says
        keys.refuse("expert_gating_func")
    latent = keys.integer("moe_latent_size", 0)
    return {
        "n_routed_experts": experts,
        "num_experts_per_tok": used,
        "n_shared_experts": keys.integer("expert_shared_count", 1),
        "moe_intermediate_size": keys.integer(
            "expert_feed_forward_length", the_one(keys, "feed_forward_length", widths)
        ),
        "moe_shared_expert_intermediate_size": keys.integer("expert_shared_feed_forward_length"),
        "moe_latent_size": latent or None,
        "n_group": groups,
        "topk_group": group_used,
        "norm_topk_prob": keys.flag("expert_weights_norm", False),
        "routed_scaling_factor": keys.number("expert_weights_scale", 1.0) or 1.0,
    }


_KINDS = {
    "attention": {**_ATTENTION, **biases(_ATTENTION, optional=True)},
    "state-space": mixer(_MIXER),
    "MLP": _MLP,
    "expert": _EXPERTS,
}
ARCHITECTURE = Architecture(
    model_type="nemotron_h",
    names={**_OUTER, **any_kind(_KINDS)},
    config=_config,
    prepare=in_turn(check_kinds(_KINDS, kinds), flat),
)
