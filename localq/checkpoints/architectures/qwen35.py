"""Qwen3.5 and 3.6: gated delta nets and attention with gated queries, a dense MLP."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import MLP
from localq.checkpoints.architectures._delta_net import (
    FULL,
    LINEAR,
    NORMS,
    OUTER,
    by_group,
    conv_rows,
    delta_config,
    head_rows,
    kinds,
    linear_names,
    order_columns,
    value_rows,
)
from localq.checkpoints.architectures._hybrid import any_kind, check_kinds, in_turn, three_axes
from localq.checkpoints.architectures._rope import sections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_PROJECTIONS: dict[str, str | Name] = {
    "blk.{i}.attn_qkv.weight": Name(LINEAR + "in_proj_qkv.weight", by_group(conv_rows)),
    "blk.{i}.attn_gate.weight": Name(LINEAR + "in_proj_z.weight", by_group(value_rows)),
    "blk.{i}.ssm_alpha.weight": Name(LINEAR + "in_proj_a.weight", by_group(head_rows)),
    "blk.{i}.ssm_beta.weight": Name(LINEAR + "in_proj_b.weight", by_group(head_rows)),
}
_KINDS = {"attention": FULL, "linear attention": linear_names(_PROJECTIONS, reorder=True)}
NAMES: dict[str, str | Name] = {
    **OUTER,
    **NORMS,
    **any_kind(_KINDS),
    "blk.{i}.ssm_out.tiled.weight": Name(LINEAR + "out_proj.tiled.weight", optional=True),
}
PREPARE = in_turn(check_kinds(_KINDS, kinds), three_axes("ssm_conv1d"), order_columns)


def config35(keys: ModelKeys) -> dict[str, Any]:
    """Config keys of dense and MoE models; positions in a text are equal on all axes of the rope, so sections rest."""
    config = delta_config(keys)
    rotated = keys.integer("rope.dimension_count", config["head_dim"])
    rope = {
        "rope_type": "default",
        "type": "default",
        "mrope_section": sections(keys, rotated)[:3],
        "rope_theta": config["rope_theta"],
        "partial_rotary_factor": rotated / config["head_dim"],
    }
    return {**config, "rope_parameters": rope}


ARCHITECTURE = Architecture(model_type="qwen3_5", names={**NAMES, **MLP}, config=config35, prepare=PREPARE)
