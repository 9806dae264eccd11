"""Qwen2 and Qwen2.5: as Llama with biases on q, k and v; heads keep their row order."""

from __future__ import annotations

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import ATTENTION, MLP, NORMS, OUTER, biases, decoder

_QKV = {name: ATTENTION[name] for name in ATTENTION if "attn_output" not in name}

ARCHITECTURE = Architecture(
    model_type="qwen2",
    names={**OUTER, **NORMS, **ATTENTION, **biases(_QKV), **MLP},
    config=lambda keys: decoder(keys, scalings=("linear", "yarn"), own_head_dim=False),
)
