"""Hunyuan, dense: as Llama with norms on queries and keys after the rope.

The base the models stretch their rope with is in the file as it comes out (`HunYuanModel`, conversion/hunyuan.py).
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, MLP, NORMS, OUTER, decoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

QK_NORMS: dict[str, str | Name] = {
    "blk.{i}.attn_q_norm.weight": LAYER + "self_attn.query_layernorm.weight",
    "blk.{i}.attn_k_norm.weight": LAYER + "self_attn.key_layernorm.weight",
}


def _config(keys: ModelKeys) -> dict[str, Any]:
    keys.integer("rope.scaling.original_context_length", 0)  # written beside a base that needs no more of it
    return {**decoder(keys, scalings=()), "attention_bias": False, "use_qk_norm": True, "rope_scaling": None}


ARCHITECTURE = Architecture(
    model_type="hunyuan_v1_dense", names={**OUTER, **NORMS, **ATTENTION, **QK_NORMS, **MLP}, config=_config
)
