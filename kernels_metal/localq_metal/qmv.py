"""Packed matrix times a vector, or times a few: weights are decoded in registers, nothing is written back."""

from __future__ import annotations

import mlx.core as mx

from localq_metal.source import MAX_THREADS, Factory, build

ROWS, SIMDGROUPS = 4, 2  # rows of a simdgroup, simdgroups of a threadgroup; not tuned on any device yet
assert 32 * SIMDGROUPS <= MAX_THREADS


def qmv(factory: Factory, stem: str, packed: mx.array, x: mx.array) -> mx.array:
    """`x [m, in]` times `packed` (uint8 `[out, bytes of a row]`) transposed: `[m, out]` in x's dtype.

    Sums are float32; their order is the device's. The weights are read once for every row of `x`.
    """
    (tokens, columns), rows = x.shape, packed.shape[0]
    if tokens * rows == 0:
        return mx.zeros((tokens, rows), x.dtype)
    groups = -(-rows // (ROWS * SIMDGROUPS))
    y: mx.array = build(factory, "qmv", stem)(
        inputs=[packed.reshape(-1), x.reshape(-1)],
        template=[("T", x.dtype), ("N", rows), ("K", columns), ("R", ROWS), ("SG", SIMDGROUPS)],
        grid=(32 * SIMDGROUPS * groups, tokens, 1),
        threadgroup=(32 * SIMDGROUPS, 1, 1),
        output_shapes=[(tokens, rows)],
        output_dtypes=[x.dtype],
    )[0]
    return y
