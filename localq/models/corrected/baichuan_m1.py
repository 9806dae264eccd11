"""Baichuan M1: rows of a packed head are not normalised once more.

mlx-lm divides the head's rows by their norms while loading, unless they are packed (then they were divided before);
it knows packed rows by the name of their scales, which localq does not show it.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import baichuan_m1

    class Model(baichuan_m1.Model):
        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            head = weights.get("lm_head.weight")
            if head is None or head.dtype == mx.int32:  # whole rows, followed by number
                return weights
            out: dict[str, mx.array] = super().sanitize(weights)
            return out

    return Model, baichuan_m1.ModelArgs
