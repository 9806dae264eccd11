"""Packed matrix times a vector, or times a few: weights are decoded in registers, nothing is written back."""

from __future__ import annotations

import mlx.core as mx

from localq_metal.source import MAX_THREADS, Factory, Packed, launch

ROWS, SIMDGROUPS = 4, 2  # rows of a simdgroup, simdgroups of a threadgroup; not tuned on any device yet
assert 32 * SIMDGROUPS <= MAX_THREADS


def qmv(factory: Factory, packed: Packed, x: mx.array) -> mx.array:
    """`x [m, in]` times a packed matrix `[out, in]` transposed: `[m, out]` in x's dtype.

    Sums are float32; their order is the device's. The weights are read once for every row of `x`.
    """
    return products(factory, "qmv", packed, [x])


def products(factory: Factory, body: str, packed: Packed, arrays: list[mx.array]) -> mx.array:
    """The launch of `qmv` and of `gather`: each row of `arrays[0]` `[m, in]` times one matrix."""
    x, *rest = arrays
    tokens, rows = x.shape[0], packed.shape[-2]
    if tokens * rows == 0:
        return mx.zeros((tokens, rows), x.dtype)
    groups = -(-rows // (ROWS * SIMDGROUPS))
    return launch(
        factory,
        body,
        packed,
        [x.reshape(-1), *rest],
        template=[("T", x.dtype), ("R", ROWS), ("SG", SIMDGROUPS)],
        grid=(32 * SIMDGROUPS * groups, tokens, 1),
        threadgroup=(32 * SIMDGROUPS, 1, 1),
        output_shapes=[(tokens, rows)],
        output_dtypes=[x.dtype],
    )
