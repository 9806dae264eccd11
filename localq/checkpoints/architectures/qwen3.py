"""Qwen3: as Llama with norms on queries and keys; heads keep their row order."""

from __future__ import annotations

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import ATTENTION, MLP, NORMS, OUTER, QK_NORMS, decoder

ARCHITECTURE = Architecture(
    model_type="qwen3",
    names={**OUTER, **NORMS, **ATTENTION, **QK_NORMS, **MLP},
    config=lambda keys: decoder(keys, scalings=("linear", "yarn")),
)
