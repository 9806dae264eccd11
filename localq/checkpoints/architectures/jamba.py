"""Jamba: Mamba layers and some attention without rope, an MLP or experts in every layer."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, decoder, expert_counts
from localq.checkpoints.architectures._hybrid import any_kind, by_kv_heads, check_kinds, in_turn, three_axes
from localq.checkpoints.architectures.mamba import mixer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_FF = LAYER + "feed_forward."
_PARTS = ("gate", "up", "down")
_kinds = by_kv_heads("state-space")
_KINDS: dict[str, dict[str, str | Name]] = {
    "attention": ATTENTION,
    "state-space": {
        **mixer(LAYER + "mamba."),
        **{f"blk.{{i}}.ssm_{x}_norm.weight": f"{LAYER}mamba.{x}_layernorm.weight" for x in ("dt", "b", "c")},
    },
}
_FF_KINDS: dict[str, dict[str, str | Name]] = {
    "dense": {f"blk.{{i}}.ffn_{x}.weight": f"{_FF}{x}_proj.weight" for x in _PARTS},
    "expert": {
        "blk.{i}.ffn_gate_inp.weight": _FF + "router.weight",
        **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{_FF}experts.{{e}}.{x}_proj.weight" for x in _PARTS},
    },
}


def _ff_kinds(keys: ModelKeys) -> list[str]:
    """Layers with experts are told by their tensors (src/models/jamba.cpp)."""
    return ["expert" if f"blk.{i}.ffn_gate_inp.weight" in keys.tensors else "dense" for i in range(keys.layers)]


def _period(keys: ModelKeys) -> tuple[int, int]:
    """Period and offset of the layers with experts: every period-th, counted from the offset."""
    experts = [i for i, kind in enumerate(_ff_kinds(keys)) if kind == "expert"]
    period = experts[1] - experts[0] if len(experts) > 1 else keys.layers
    if experts != list(range(keys.layers))[experts[0] % period :: period]:
        keys.refuse("expert_count")
    return period, experts[0] % period


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=(), own_head_dim=False)
    experts = keys.integer("expert_count", 0)
    with_experts = "expert" in _ff_kinds(keys)
    period, offset = _period(keys) if with_experts else (1, 0)
    layers = _kinds(keys)
    expand, left = divmod(keys.integer("ssm.inner_size"), config["hidden_size"])
    if left:
        keys.refuse("ssm.inner_size")
    return {
        **config,
        "layers_block_type": ["mamba" if kind == "state-space" else kind for kind in layers],
        "attn_layer_offset": layers.index("attention"),
        "attn_layer_period": keys.layers,
        "expert_layer_offset": offset,
        "expert_layer_period": period,
        "mamba_d_conv": keys.integer("ssm.conv_kernel"),
        "mamba_d_state": keys.integer("ssm.state_size"),
        "mamba_dt_rank": keys.integer("ssm.time_step_rank"),
        "mamba_expand": expand,
        "mamba_conv_bias": True,
        "mamba_proj_bias": False,
        "num_experts": experts if with_experts else 1,
        "num_experts_per_tok": expert_counts(keys)[1] if with_experts else keys.integer("expert_used_count", 1) and 1,
    }


ARCHITECTURE = Architecture(
    model_type="jamba",
    names={
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.final_layernorm.weight",
        "output.weight": Name("lm_head.weight", optional=True),
        "blk.{i}.attn_norm.weight": LAYER + "input_layernorm.weight",
        "blk.{i}.ffn_norm.weight": LAYER + "pre_ff_layernorm.weight",
        **any_kind(_KINDS),
        **any_kind(_FF_KINDS),
    },
    config=_config,
    prepare=in_turn(check_kinds(_KINDS, _kinds), check_kinds(_FF_KINDS, _ff_kinds), three_axes("ssm_conv1d")),
)
