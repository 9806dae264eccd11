"""The router of a mixture of experts in one launch: softmax, the largest, their share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx

from localq_metal.source import Factory, body

MOST_EXPERTS, MOST_CHOSEN = 1024, 32


@cache
def _build(factory: Factory) -> Callable[..., Any]:
    outputs = ["score", "expert"]
    return factory(name="localq_route", input_names=["x"], output_names=outputs, source=body("route"), header="")


def route(factory: Factory, x: mx.array, chosen: int, shared: bool) -> tuple[mx.array, mx.array]:
    """Of logits `x [m, experts]` the softmax of the `chosen` largest, over their own sum if `shared`, and which.

    Returns scores `[m, chosen]` in x's dtype, the largest first, and experts `[m, chosen]`, uint32. Softmax in float32.
    """
    rows, experts = x.shape
    assert experts <= MOST_EXPERTS and chosen <= min(MOST_CHOSEN, experts)
    score, expert = _build(factory)(
        inputs=[x.reshape(-1)],
        template=[("T", x.dtype), ("E", experts), ("TOP", chosen), ("SHARED", int(shared))],
        grid=(32, rows, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[(rows, chosen), (rows, chosen)],
        output_dtypes=[x.dtype, mx.uint32],
    )
    return score, expert
