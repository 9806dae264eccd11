"""Qwen3-Next: gated delta nets and attention with gated queries, experts in every layer beside a shared one.

Hugging Face interleaves queries, keys, values and gates by key head in `in_proj_qkvz`; llama.cpp keeps `attn_qkv` and
`attn_gate`, packed in types of their own, so they stay apart under Qwen3.5's names, `in_proj_qkv` and `in_proj_z`.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER
from localq.checkpoints.architectures._delta_net import (
    FULL,
    LINEAR,
    NORMS,
    OUTER,
    SHARED_EXPERT,
    delta_config,
    expert_config,
    kinds,
    linear_names,
)
from localq.checkpoints.architectures._hybrid import any_kind, check_kinds, in_turn, three_axes
from localq.checkpoints.architectures._shapes import reshaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_PROJECTIONS: dict[str, str | Name] = {
    "blk.{i}.attn_qkv.weight": LINEAR + "in_proj_qkv.weight",
    "blk.{i}.attn_gate.weight": LINEAR + "in_proj_z.weight",
    "blk.{i}.ssm_ba.weight": LINEAR + "in_proj_ba.weight",
}
_PARTS = ("gate", "up", "down")
_KINDS = {"attention": FULL, "linear attention": linear_names(_PROJECTIONS, reorder=False)}


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = delta_config(keys)
    rotated = keys.integer("rope.dimension_count", config["head_dim"])
    return {
        **config,
        **expert_config(keys, config),
        "partial_rotary_factor": rotated / config["head_dim"],
        "linear_projections_apart": True,
    }


ARCHITECTURE = Architecture(
    model_type="qwen3_next",
    names={
        **OUTER,
        **NORMS,
        **any_kind(_KINDS),
        **SHARED_EXPERT,
        **{
            f"blk.{{i}}.ffn_{x}_exps.weight": f"{LAYER}mlp.experts.{{e}}.{x}_proj.weight"
            for x in ("gate", "up", "down")
        },
    },
    config=_config,
    prepare=in_turn(check_kinds(_KINDS, kinds), three_axes("ssm_conv1d"), reshaped(ffn_gate_inp_shexp=(1, -1))),
)
