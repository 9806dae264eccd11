"""Nanbeige 4.2: Llama whose layers are run through several times."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures.llama import ARCHITECTURE as LLAMA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    return {
        **LLAMA.config(keys),
        "num_loops": max(keys.integer("num_loops", 1), 1),
        "skip_loop_final_norm": keys.flag("skip_loop_final_norm", False),
    }


ARCHITECTURE = Architecture(model_type="nanbeige", names=LLAMA.names, config=_config, consumed=LLAMA.consumed)
