"""Qwen3.5 and 3.6 with experts in every layer beside a shared one.

Hugging Face fuses gate and up of all experts; the stacks appear as mlx-lm names them (`mlp.switch_mlp.gate_proj`).
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import LAYER
from localq.checkpoints.architectures._delta_net import SHARED_EXPERT, expert_config
from localq.checkpoints.architectures._hybrid import in_turn
from localq.checkpoints.architectures._shapes import reshaped
from localq.checkpoints.architectures.qwen35 import NAMES, PREPARE, config35

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = config35(keys)
    return {**config, **expert_config(keys, config)}


ARCHITECTURE = Architecture(
    model_type="qwen3_5_moe",
    names={
        **NAMES,
        **SHARED_EXPERT,
        **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{LAYER}mlp.switch_mlp.{x}_proj.weight" for x in ("gate", "up", "down")},
    },
    config=_config,
    prepare=in_turn(PREPARE, reshaped(ffn_gate_inp_shexp=(1, -1))),
)
