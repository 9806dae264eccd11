"""YaRN whose range of blended frequencies is not rounded to whole ones (`truncate: false`, as gpt-oss has it).

mlx-lm rounds it always. Formula: transformers' modeling_rope_utils.py, `_compute_yarn_parameters`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module


def keep_fractions(model: Module, text: Mapping[str, Any]) -> None:
    """Give every YaRN rope of a model the frequencies that its config asks for, if those are the unrounded ones."""
    from mlx_lm.models.rope_utils import YarnRoPE

    scaling = text.get("rope_scaling")
    if not isinstance(scaling, Mapping) or scaling.get("truncate") is not False:
        return
    for _, rope in model.named_modules():
        if isinstance(rope, YarnRoPE):
            rope._freqs = _frequencies(rope.dims, float(text["rope_theta"]), scaling)


def _frequencies(dims: int, base: float, scaling: Mapping[str, Any]) -> mx.array:
    """Radians of one turn per position, inverse, `[dims / 2]`."""
    length = scaling.get("original_max_position_embeddings", 4096)

    def dimension(turns: float) -> float:
        return float(dims * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(base)))

    low = max(dimension(scaling.get("beta_fast", 32)), 0)
    high = min(dimension(scaling.get("beta_slow", 1)), dims - 1)
    high += 0.001 if low == high else 0
    ramp = mx.clip((mx.arange(dims // 2, dtype=mx.float32) - low) / (high - low), 0, 1)
    plain = base ** (mx.arange(0, dims, 2, dtype=mx.float32) / dims)
    found: mx.array = 1 / (ramp / (scaling["factor"] * plain) + (1 - ramp) / plain)
    return found
