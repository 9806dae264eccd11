"""Command R7B, Command A, Aya Vision's text part: three sliding layers with rope to one global layer without."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import sliding_layers, sliding_period
from localq.checkpoints.architectures.command_r import COHERE, cohere

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = cohere(keys)
    if keys.number("rope.freq_base_swa", config["rope_theta"]) != config["rope_theta"]:
        keys.refuse("rope.freq_base_swa")
    period = sliding_period(sliding_layers(keys, period=4))
    if period is None:  # mlx-lm knows patterns as a period only
        keys.refuse("attention.sliding_window_pattern")
    return {**config, "sliding_window": keys.integer("attention.sliding_window"), "sliding_window_pattern": period}


ARCHITECTURE = Architecture(model_type="cohere2", names=COHERE, config=_config)
