"""Step 3.5 Flash: a gate per head, sliding layers with heads of their own, clamped experts beside a shared one.

Norms are stored plus one (`Step35Model.modify_tensors`, conversion/step3.py). Global layers rotate half of each head
and alone scale their rope. Sliding ones rotate all of it.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    OUTER,
    embedding,
    expert_counts,
    per_layer,
    sliding_layers,
)
from localq.checkpoints.architectures._mla import DENSE
from localq.checkpoints.architectures._rope import llama3
from localq.checkpoints.architectures._rules import minus_one
from localq.checkpoints.keys import ModelKeys, is_array, shortest
from localq.errors import CheckpointError, UnsupportedError

_PARTS = ("gate", "up", "down")


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocab, hidden = embedding(keys)
    experts, used = expert_counts(keys)
    if keys.integer("expert_gating_func", 0) not in (0, 2):  # sigmoid, also where a file does not say
        keys.refuse("expert_gating_func")
    with_experts = [i for i in range(keys.layers) if f"blk.{i}.ffn_gate_inp.weight" in keys.tensors]
    keys.integer("leading_dense_block_count", 0)
    keys.integer("moe_every_n_layers", 1)
    if not with_experts:
        raise CheckpointError("The GGUF file has no router in any layer; a step35 model has experts.")
    return {
        "hidden_size": hidden,
        "vocab_size": vocab,
        "num_hidden_layers": keys.layers,
        "intermediate_size": keys.integer("feed_forward_length"),
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": keys.integer("context_length"),
        "tie_word_embeddings": False,
        "moe_num_experts": experts,
        "moe_top_k": used,
        "moe_intermediate_size": keys.integer("expert_feed_forward_length"),
        "share_expert_dim": keys.integer("expert_shared_feed_forward_length"),
        "moe_layers_enum": ",".join(map(str, with_experts)),
        "moe_router_scaling_factor": keys.number("expert_weights_scale", 0.0) or 1.0,
        "norm_expert_weight": keys.flag("expert_weights_norm", False),
        "swiglu_limits": _limits(keys, "swiglu_clamp_exp"),
        "swiglu_limits_shared": _limits(keys, "swiglu_clamp_shexp"),
        **_attention(keys),
    }


def _limits(keys: ModelKeys, key: str) -> list[float] | None:
    """Where each layer's activations are clamped, 0 for nowhere."""
    found = keys.value(key)
    if found is None:
        return None
    values = list(found)[: keys.layers] if is_array(found) else [found] * keys.layers
    if len(values) != keys.layers or not all(isinstance(v, float) and v >= 0 for v in values):
        raise CheckpointError(f"'step35.{key}' is no list of {keys.layers} limits.")
    return [shortest(v) for v in values]


def _attention(keys: ModelKeys) -> dict[str, Any]:
    sliding = sliding_layers(keys, period=0)
    heads, groups = per_layer(keys, "attention.head_count"), per_layer(keys, "attention.head_count_kv")
    kinds = {flag: {(heads[i], groups[i]) for i, one in enumerate(sliding) if one is flag} for flag in (True, False)}
    if any(len(sizes) != 1 or 0 in min(sizes) for sizes in kinds.values()):
        keys.refuse("attention.sliding_window_pattern", "attention.head_count", "attention.head_count_kv")
    (local,), (whole,) = kinds[True], kinds[False]
    width = keys.integer("attention.key_length")
    for key in ("attention.value_length", "rope.dimension_count", "rope.dimension_count_swa"):
        if keys.integer(key, width) != width:
            keys.refuse(key)
    theta, theta_swa = keys.number("rope.freq_base", 10000.0), keys.number("rope.freq_base_swa", 10000.0)
    gates = {f"blk.{i}.attn_gate.weight" in keys.tensors for i in range(keys.layers)}
    if len(gates) > 1:
        raise UnsupportedError("Some layers of this step35 file have gates per head, others have not.")
    return {
        "num_attention_heads": whole[0],
        "num_attention_groups": whole[1],
        "attention_other_setting": {"num_attention_heads": local[0], "num_attention_groups": local[1]},
        "head_dim": width,
        "use_head_wise_attn_gate": gates == {True},
        "sliding_window": keys.integer("attention.sliding_window"),
        "layer_types": ["sliding_attention" if flag else "full_attention" for flag in sliding],
        "partial_rotary_factors": [1.0 if flag else 0.5 for flag in sliding],
        "rope_theta": [theta_swa if flag else theta for flag in sliding],
        "rope_scaling": _scaling(keys, width // 2, theta),
        "yarn_only_types": ["full_attention"],
    }


def _scaling(keys: ModelKeys, rotated: int, theta: float) -> dict[str, Any] | None:
    """Llama 3's scaling of the global layers; the divisors are filled up with ones."""
    kind, factor = keys.text("rope.scaling.type", "none"), keys.number("rope.scaling.factor", 1.0)
    if kind not in ("none", "linear") or factor != 1.0:
        keys.refuse("rope.scaling.type", "rope.scaling.factor")
    divisors = keys.small("rope_freqs.weight")
    if divisors is None:
        return None
    if any(d != 1.0 for d in divisors[rotated // 2 :]):
        raise UnsupportedError(f"'rope_freqs.weight' of this step35 file scales more than {rotated // 2} pairs.")
    return llama3(keys, divisors[: rotated // 2], rotated, theta)


_NORMS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
ARCHITECTURE = Architecture(
    model_type="step3p5",
    names={
        **OUTER,
        "output.weight": "lm_head.weight",
        "output_norm.weight": Name("model.norm.weight", minus_one),
        **{f"blk.{{i}}.{stored}.weight": Name(f"{LAYER}{hf}.weight", minus_one) for stored, hf in _NORMS.items()},
        **ATTENTION,
        "blk.{i}.attn_gate.weight": Name(LAYER + "self_attn.g_proj.weight", optional=True),
        **DENSE,
        "blk.{i}.ffn_gate_inp.weight": Name(LAYER + "moe.gate.weight", optional=True),
        "blk.{i}.exp_probs_b.bias": Name(LAYER + "moe.router_bias", optional=True),
        **{f"blk.{{i}}.ffn_{x}_exps.weight": Name(f"{LAYER}moe.{x}_proj.weight", optional=True) for x in _PARTS},
        **{
            f"blk.{{i}}.ffn_{x}_shexp.weight": Name(f"{LAYER}share_expert.{x}_proj.weight", optional=True)
            for x in _PARTS
        },
    },
    config=_config,
    consumed=("rope_freqs.weight",),
)
