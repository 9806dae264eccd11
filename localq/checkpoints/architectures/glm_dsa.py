"""GLM-5, 5.1 and 5.2: DeepSeek V3.2's sparse attention; in 5.2 some layers use the choice of an indexer before them."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._mla import join_halves
from localq.checkpoints.architectures.deepseek32 import SPARSE, sparse
from localq.checkpoints.keys import is_array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _types(keys: ModelKeys, positions: int) -> list[str]:
    """One word a layer. Without the key a file of a million positions is GLM-5.2's (src/models/glm-dsa.cpp)."""
    own = keys.value("attention.indexer.types")
    if own is None:
        flags = [positions < 1 << 20 or i < 2 or i % 4 == 2 for i in range(keys.layers)]
    else:
        flags = [bool(one) for one in own][: keys.layers] if is_array(own) else []
    if len(flags) != keys.layers or not flags[0]:
        keys.refuse("attention.indexer.types")
    return ["full" if flag else "shared" for flag in flags]


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = sparse(keys)
    rope = {"rope_type": "default", **(config["rope_scaling"] or {}), "rope_theta": config["rope_theta"]}
    types = _types(keys, config["max_position_embeddings"])
    return {**config, "rope_parameters": rope, "indexer_rope_interleave": True, "indexer_types": types}


ARCHITECTURE = Architecture(
    model_type="glm_moe_dsa",
    names={n: Name(str(t), optional=True) if ".indexer." in n else t for n, t in SPARSE.items()},
    config=_config,
    prepare=join_halves,
)
