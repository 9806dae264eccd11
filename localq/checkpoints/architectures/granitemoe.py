"""Granite 3 with experts.

Hugging Face keeps the experts' gate and up in one stack, GGUF apart; the names here are mlx-lm's, which are apart too.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import LAYER, NORMS, OUTER, biases, expert_counts
from localq.checkpoints.architectures.granite import ROTATED, scaled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

_MOE = LAYER + "block_sparse_moe."


def _config(keys: ModelKeys) -> dict[str, Any]:
    experts, used = expert_counts(keys)
    return {**scaled(keys), "num_local_experts": experts, "num_experts_per_tok": used}


ARCHITECTURE = Architecture(
    model_type="granitemoe",
    names={
        **OUTER,
        **NORMS,
        **ROTATED,
        **biases(ROTATED, optional=True),
        "blk.{i}.ffn_gate_inp.weight": _MOE + "router.layer.weight",
        **{f"blk.{{i}}.ffn_{x}_exps.weight": f"{_MOE}switch_mlp.{x}_proj.weight" for x in ("gate", "up", "down")},
    },
    config=_config,
    consumed=("rope_freqs.weight",),
)
