"""Hadamard transforms of vectors, in Sylvester's order and without a factor: what rotated formats do to activations."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx

from localq_metal.source import Factory, body

ORDERS = tuple(1 << n for n in range(5, 11))
SIMDGROUPS = 2


@cache
def _build(factory: Factory) -> Callable[..., Any]:
    source = body("hadamard")
    return factory(name="localq_hadamard", input_names=["x"], output_names=["y"], source=source, header="")


def hadamard(factory: Factory, x: mx.array, order: int) -> mx.array:
    """`H @ v` for every vector v of the last axis of `x [..., n * order]`, cut into vectors of `order`: float32."""
    assert order in ORDERS and x.shape[-1] % order == 0, (x.shape, order)
    vectors = x.size // order
    if vectors == 0:
        return x.astype(mx.float32)
    y: mx.array = _build(factory)(
        inputs=[x.reshape(-1)],
        template=[("T", x.dtype), ("ORDER", order), ("VECTORS", vectors), ("SG", SIMDGROUPS)],
        grid=(32 * SIMDGROUPS * -(-vectors // SIMDGROUPS), 1, 1),
        threadgroup=(32 * SIMDGROUPS, 1, 1),
        output_shapes=[x.shape],
        output_dtypes=[mx.float32],
    )[0]
    return y
