"""LongRoPE's two lists of frequency factors: which one holds is the context's to say (see phi3.py)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import mlx.core as mx


def pick_factors(ropes: Iterable[Any], scaling: dict[str, Any], theta: float, beyond: bool) -> None:
    """Give mlx-lm's SuScaledRoPE modules the long factors if the context goes beyond the original one, else the short.

    Args:
        ropes: modules; those of other classes are left alone.
        scaling: `rope_scaling` with both lists.
        theta: rope base.
        beyond: conversations may be longer than the original context.
    """
    from mlx_lm.models.rope_utils import SuScaledRoPE

    factors = mx.array(scaling["long_factor" if beyond else "short_factor"], mx.float32)
    for rope in ropes:
        if isinstance(rope, SuScaledRoPE):
            plain = theta ** (mx.arange(0, rope.dim, 2, dtype=mx.float32) / rope.dim)
            rope._freqs = factors * plain
