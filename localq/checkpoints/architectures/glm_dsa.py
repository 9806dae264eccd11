"""GLM-5 and 5.1: DeepSeek V3.2's sparse attention. GLM-5.2 shares an indexer between layers and is refused."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._mla import join_halves
from localq.checkpoints.architectures.deepseek32 import SPARSE, sparse
from localq.checkpoints.keys import is_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = sparse(keys)
    # One flag per layer: has an indexer of its own. Without them llama.cpp takes a file of a million tokens for GLM-5.2
    own = keys.value("attention.indexer.types")
    full = config["max_position_embeddings"] < 1 << 20 if own is None else is_array(own) and all(own)
    if not full:
        keys.refuse("context_length", "attention.indexer.types")
    rope = {"rope_type": "default", **(config["rope_scaling"] or {}), "rope_theta": config["rope_theta"]}
    return {**config, "rope_parameters": rope, "indexer_rope_interleave": True}


ARCHITECTURE = Architecture(model_type="glm_moe_dsa", names=SPARSE, config=_config, prepare=join_halves)
