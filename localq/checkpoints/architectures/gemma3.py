"""Gemma 3 (text): as Gemma 2 with norms on queries and keys and without soft caps; five of six layers slide."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._decoder import LAYER, OUTER, decoder, sliding_layers, sliding_period
from localq.checkpoints.architectures._rules import minus_one
from localq.checkpoints.architectures.gemma2 import GEMMA, query_scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = decoder(keys, scalings=("linear",))
    # mlx-lm sizes every layer's cache and mask by period, so an own pattern must be one
    window = keys.integer("attention.sliding_window", 0)
    sliding = sliding_layers(keys, period=6)
    period = sliding_period(sliding) if window else 1
    if period is None:
        keys.refuse("attention.sliding_window_pattern")
    return {
        **config,
        "sliding_window": window or config["max_position_embeddings"],
        "sliding_window_pattern": period,
        "rope_local_base_freq": keys.number("rope.freq_base_swa", 10000.0),
        "query_pre_attn_scalar": query_scalar(keys, largest=62),
    }


ARCHITECTURE = Architecture(
    model_type="gemma3_text",
    names={
        **GEMMA,
        "output.weight": OUTER["output.weight"],
        "blk.{i}.attn_q_norm.weight": Name(LAYER + "self_attn.q_norm.weight", minus_one),
        "blk.{i}.attn_k_norm.weight": Name(LAYER + "self_attn.k_norm.weight", minus_one),
    },
    config=_config,
)
