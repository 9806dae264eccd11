"""Mellum 2: Qwen3-MoE with sliding layers; those that see everything are stretched by YaRN, the others are not."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import decoder, expert_counts, sliding_layers
from localq.checkpoints.architectures.qwen3moe import ARCHITECTURE as QWEN3_MOE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    count, used = expert_counts(keys)
    config = decoder(keys, scalings=("yarn",))
    theta = config["rope_theta"]
    full = {"rope_type": "default", **config.pop("rope_scaling", {}), "rope_theta": theta}
    window = keys.integer("attention.sliding_window", 0)
    sliding = sliding_layers(keys, period=4) if window else [False] * keys.layers
    near = {"rope_type": "default", "rope_theta": keys.number("rope.freq_base_swa", theta)}
    return {
        **config,
        "num_experts": count,
        "num_experts_per_tok": used,
        "moe_intermediate_size": keys.integer("expert_feed_forward_length", config["intermediate_size"] // used),
        "norm_topk_prob": keys.flag("expert_weights_norm", True),
        "sliding_window": window or config["max_position_embeddings"],
        "layer_types": ["sliding_attention" if flag else "full_attention" for flag in sliding],
        "rope_parameters": {"full_attention": full, "sliding_attention": near},
    }


ARCHITECTURE = Architecture(model_type="mellum", names=QWEN3_MOE.names, config=_config)
