"""EXAONE 4: norms after both halves of a layer and on queries and keys; the 32B slides in three of four layers.

Where layers slide, only those have rope.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import (
    ATTENTION,
    LAYER,
    MLP,
    OUTER,
    QK_NORMS,
    decoder,
    sliding_layers,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

LARGE = (
    64  # layers of the one model for which llama.cpp slides, over 4096 unless the file says (src/models/exaone4.cpp)
)


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys)
    config = {**config, "rope_scaling": config.get("rope_scaling"), "attention_bias": False}
    window = keys.integer("attention.sliding_window", 4096 if keys.layers == LARGE else 0)
    if keys.number("rope.freq_base_swa", config["rope_theta"]) != config["rope_theta"]:
        keys.refuse("rope.freq_base_swa")
    sliding = sliding_layers(keys, period=4)
    if not window:
        return {**config, "sliding_window": None, "sliding_window_pattern": None}
    if len(set(sliding)) != 2:  # mlx-lm looks for one layer of each kind
        keys.refuse("attention.sliding_window_pattern")
    pattern = "".join("L" if flag else "G" for flag in sliding)
    return {**config, "sliding_window": window, "sliding_window_pattern": pattern}


ARCHITECTURE = Architecture(
    model_type="exaone4",
    names={
        **OUTER,
        "blk.{i}.post_attention_norm.weight": LAYER + "post_attention_layernorm.weight",
        "blk.{i}.post_ffw_norm.weight": LAYER + "post_feedforward_layernorm.weight",
        **ATTENTION,
        **QK_NORMS,
        **MLP,
    },
    config=_config,
    consumed=("rope_freqs.weight",),
)
