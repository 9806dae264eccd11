"""Vectors times the matrices of a packed stack that they name: the experts of a mixture."""

from __future__ import annotations

import mlx.core as mx

from localq_metal.qmv import ROWS, SIMDGROUPS
from localq_metal.source import Factory, build


def gather(factory: Factory, stem: str, packed: mx.array, x: mx.array, expert: mx.array) -> mx.array:
    """`x [m, in]` times `packed[expert[i]]` (uint8 `[n, out, bytes of a row]`) transposed: `[m, out]` in x's dtype.

    Sums are float32. Every row of `x` reads its whole matrix, also where several name the same one.
    """
    (tokens, columns), rows = x.shape, packed.shape[1]
    if tokens * rows == 0:
        return mx.zeros((tokens, rows), x.dtype)
    groups = -(-rows // (ROWS * SIMDGROUPS))
    y: mx.array = build(factory, "gather", stem)(
        inputs=[packed.reshape(-1), x.reshape(-1), expert.astype(mx.uint32).reshape(-1)],
        template=[("T", x.dtype), ("N", rows), ("K", columns), ("R", ROWS), ("SG", SIMDGROUPS)],
        grid=(32 * SIMDGROUPS * groups, tokens, 1),
        threadgroup=(32 * SIMDGROUPS, 1, 1),
        output_shapes=[(tokens, rows)],
        output_dtypes=[x.dtype],
    )[0]
    return y
