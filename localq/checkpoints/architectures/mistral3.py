"""Mistral Small 3.1 and after, Ministral 3 (text): Llama; Ministral's with YaRN and queries that grow with position."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import decoder
from localq.checkpoints.architectures.llama import ARCHITECTURE as LLAMA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _ministral(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=("yarn",))
    scaling = config.pop("rope_scaling", None)
    if scaling is None:
        keys.refuse("attention.temperature_scale", "rope.scaling.type")
    rope = {
        **scaling,
        "type": "yarn",
        "rope_theta": config["rope_theta"],
        # llama.cpp takes mscale for 1 here (src/llama-context.cpp); the key holds mscale_all_dim itself
        "mscale": 1.0,
        "mscale_all_dim": keys.number("rope.scaling.yarn_log_multiplier", 0.0),
        "llama_4_scaling_beta": keys.number("attention.temperature_scale"),
    }
    return {**config, "rope_parameters": rope}


_NAMES = {name: target for name, target in LLAMA.names.items() if not name.endswith(".bias")}
MINISTRAL = Architecture(model_type="ministral3", names=_NAMES, config=_ministral)


def _choose(keys: ModelKeys) -> Architecture:
    plain = keys.number("attention.temperature_scale", 0.0) == 0.0
    return LLAMA._replace(with_experts=None) if plain else MINISTRAL


ARCHITECTURE = Architecture(
    model_type="llama", names=LLAMA.names, config=LLAMA.config, choose=_choose, variants=("ministral3",)
)
