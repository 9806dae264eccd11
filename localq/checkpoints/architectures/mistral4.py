"""Mistral Small 4: DeepSeek's latent attention and experts, weighed by a softmax; YaRN as in Ministral 3."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._mla import LATENT, experts, join_halves
from localq.checkpoints.architectures.deepseek2 import SOFTMAX, untied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

# Queries grow with their position. llama.cpp's converter writes no key for it; this is the one release's, and without
# effect up to `original_max_position_embeddings`, as far as llama.cpp computes the same.
GROWTH = 0.1


def _config(keys: ModelKeys) -> dict[str, Any]:
    if keys.integer("expert_gating_func", SOFTMAX) != SOFTMAX or keys.integer("expert_count", 0) == 0:
        keys.refuse("expert_gating_func", "expert_count")
    config = {**untied(keys), **experts(keys)}
    scaling = config.pop("rope_scaling") or {"type": "default", "rope_type": "default"}
    positions = scaling.get("original_max_position_embeddings", config["max_position_embeddings"])
    return {
        **config,
        "rope_interleave": True,
        "rope_parameters": {
            **scaling,
            "rope_theta": config["rope_theta"],
            "original_max_position_embeddings": keys.integer("attention.temperature_length", positions),
            "llama_4_scaling_beta": keys.number("attention.temperature_scale", GROWTH),
        },
    }


ARCHITECTURE = Architecture(model_type="mistral4", names=LATENT, config=_config, prepare=join_halves)
