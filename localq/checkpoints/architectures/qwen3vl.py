"""Qwen3-VL, the text part: Qwen3. Text has one position for all three axes of its rope."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._rope import sections
from localq.checkpoints.architectures.qwen3 import ARCHITECTURE as TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    keys.value("n_deepstack_layers")  # where the vision part adds to the first layers
    config = TEXT.config(keys)
    sections(keys, config["head_dim"])
    return config


ARCHITECTURE = Architecture(model_type="qwen3", names=TEXT.names, config=_config)
