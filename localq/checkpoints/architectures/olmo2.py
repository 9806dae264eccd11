"""OLMo 2, and OLMo 3 where the file has a sliding window: norms after both halves of a layer, none before.

Only OLMo 3's global layers scale their rope (src/models/olmo2.cpp).
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

_NAMES = {
    **OUTER,
    "blk.{i}.post_attention_norm.weight": LAYER + "post_attention_layernorm.weight",
    "blk.{i}.post_ffw_norm.weight": LAYER + "post_feedforward_layernorm.weight",
    **ATTENTION,
    **QK_NORMS,
    **MLP,
}


def _olmo3(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=("linear", "yarn"), own_head_dim=False)
    sliding = sliding_layers(keys, period=4)
    if keys.number("rope.freq_base_swa", config["rope_theta"]) != config["rope_theta"]:
        keys.refuse("rope.freq_base_swa")
    if len(set(sliding)) != 2:  # mlx-lm looks for one layer of each kind
        keys.refuse("attention.sliding_window_pattern")
    return {
        **config,
        "attention_bias": False,
        "sliding_window": keys.integer("attention.sliding_window"),
        "layer_types": ["sliding_attention" if flag else "full_attention" for flag in sliding],
    }


def _choose(keys: ModelKeys) -> Architecture:
    if keys.integer("attention.sliding_window", 0) == 0:
        return ARCHITECTURE
    return Architecture(model_type="olmo3", names=_NAMES, config=_olmo3)


ARCHITECTURE = Architecture(
    model_type="olmo2",
    names=_NAMES,
    config=lambda keys: {
        **decoder(keys, scalings=("linear", "yarn"), own_head_dim=False),
        "attention_bias": False,
        "mlp_bias": False,
    },
    choose=_choose,
    variants=("olmo3",),
)
