"""Granite 4 hybrid: Mamba-2 layers and some attention without rope, an MLP or experts in every layer."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, NORMS, OUTER, biases, decoder, expert_counts, has_biases
from localq.checkpoints.architectures._hybrid import any_kind, by_kv_heads, check_kinds, in_turn
from localq.checkpoints.architectures._joins import fused_names, join_rows
from localq.checkpoints.architectures._mamba2 import flat, has_conv_bias, mixer, no_limit, sizes
from localq.checkpoints.architectures.granite import ROTATED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_kinds = by_kv_heads("state-space")
_KINDS = {
    "attention": {**ROTATED, **biases(ROTATED, optional=True)},
    "state-space": mixer(LAYER + "mamba."),
}
_MOE = LAYER + "block_sparse_moe."
_GATE_UP = (("ffn_gate", None), ("ffn_up", None))
_SHARED_GATE_UP = (("ffn_gate_shexp", None), ("ffn_up_shexp", None))


def _config(keys: ModelKeys) -> dict[str, Any]:
    found, layers = sizes(keys), _kinds(keys)
    if found.groups != 1:
        keys.refuse("ssm.group_count")  # Granite norms all channels at once, llama.cpp a group at a time
    with_rope = keys.flag("rope.scaling.finetuned", True)  # llama.cpp's switch for rope in this family
    config = decoder(keys, own_head_dim=False)
    return {
        **config,
        "attention_multiplier": keys.number("attention.scale", 0.0) or config["head_dim"] ** -0.5,
        "embedding_multiplier": keys.number("embedding_scale", 0.0) or 1.0,
        "residual_multiplier": keys.number("residual_scale", 0.0) or 1.0,
        "logits_scaling": keys.number("logit_scale", 0.0) or 1.0,
        "attention_bias": has_biases(keys, "attn_q", "attn_k", "attn_v", "attn_output"),
        "layer_types": ["mamba" if kind == "state-space" else kind for kind in layers],
        "position_embedding_type": "rope" if with_rope else "nope",
        "mamba_n_heads": found.heads,
        "mamba_d_head": found.width,
        "mamba_d_state": found.state,
        "mamba_d_conv": found.taps,
        "mamba_n_groups": found.groups,
        "mamba_proj_bias": False,
        "mamba_conv_bias": has_conv_bias(keys, [i for i, kind in enumerate(layers) if kind == "state-space"]),
        "mlp_bias": False,
        "time_step_limit": no_limit(),
        "shared_intermediate_size": keys.integer("expert_shared_feed_forward_length", config["intermediate_size"]),
    }


def _expert_config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    return {**_config(keys), "num_local_experts": experts, "num_experts_per_tok": used}


_COMMON: dict[str, str | Name] = {**OUTER, **NORMS, **any_kind(_KINDS)}
_WITH_EXPERTS = Architecture(
    model_type="granitemoehybrid",
    names={
        **_COMMON,
        "blk.{i}.ffn_gate_inp.weight": _MOE + "router.layer.weight",
        **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{_MOE}switch_mlp.{x}_proj.weight" for x in ("gate", "up", "down")},
        **fused_names("ffn_gate_up_shexp", LAYER + "shared_mlp.input_linear", _SHARED_GATE_UP),
        "blk.{i}.ffn_down_shexp.weight": LAYER + "shared_mlp.output_linear.weight",
    },
    config=_expert_config,
    consumed=("rope_freqs.weight",),
    prepare=in_turn(check_kinds(_KINDS, _kinds), flat, join_rows("ffn_gate_up_shexp", _SHARED_GATE_UP)),
)
ARCHITECTURE = Architecture(
    model_type="granitemoehybrid",
    names={
        **_COMMON,
        **fused_names("ffn_gate_up", LAYER + "shared_mlp.input_linear", _GATE_UP),
        "blk.{i}.ffn_down.weight": LAYER + "shared_mlp.output_linear.weight",
    },
    config=_config,
    consumed=("rope_freqs.weight",),
    with_experts=_WITH_EXPERTS,
    prepare=in_turn(check_kinds(_KINDS, _kinds), flat, join_rows("ffn_gate_up", _GATE_UP)),
)
