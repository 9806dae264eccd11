"""Qwen2-VL and Qwen2.5-VL, the text part: Qwen2. Text has one position for all three axes of its rope."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import decoder
from localq.checkpoints.architectures._rope import sections
from localq.checkpoints.architectures.qwen2 import ARCHITECTURE as QWEN2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=(), own_head_dim=False)
    sections(keys, config["hidden_size"] // config["num_attention_heads"])
    return config


ARCHITECTURE = Architecture(model_type="qwen2", names=QWEN2.names, config=_config)
