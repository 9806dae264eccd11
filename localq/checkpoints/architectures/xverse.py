"""XVERSE: Llama under another name.

Where several queries share a key, the converter orders the keys' rows by heads / kv heads (`_reverse_hf_permute`,
conversion/xverse.py), which llama.cpp reads as if they were kv heads. Here the order is undone as it was made.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, decoder
from localq.checkpoints.architectures._rules import unpermuted
from localq.checkpoints.architectures.llama import ARCHITECTURE as LLAMA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.architectures import Change
    from localq.checkpoints.keys import ModelKeys


def _key_rows(keys: ModelKeys, shape: tuple[int, ...]) -> Change:
    shared = keys.heads // keys.kv_heads
    return unpermuted(shape, shared if shared > 1 else keys.heads)


def _config(keys: ModelKeys) -> dict[str, Any]:
    if keys.heads % keys.kv_heads:
        keys.refuse("attention.head_count", "attention.head_count_kv")
    return {**decoder(keys, scalings=("linear",), own_head_dim=False), "attention_bias": False}


ARCHITECTURE = Architecture(
    model_type="xverse",
    names={
        **{name: target for name, target in LLAMA.names.items() if not name.endswith(".bias")},
        "blk.{i}.attn_k.weight": Name(LAYER + "self_attn.k_proj.weight", _key_rows),
    },
    config=_config,
)
