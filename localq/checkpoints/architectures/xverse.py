"""XVERSE: Llama under another name, with as many heads of keys as of queries."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import decoder
from localq.checkpoints.architectures.llama import ARCHITECTURE as LLAMA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    if keys.kv_heads != keys.heads:  # for fewer the converter orders the keys' rows in a way of its own
        keys.refuse("attention.head_count_kv")
    return {**decoder(keys, scalings=("linear",), own_head_dim=False), "attention_bias": False}


ARCHITECTURE = Architecture(
    model_type="xverse",
    names={name: target for name, target in LLAMA.names.items() if not name.endswith(".bias")},
    config=_config,
)
