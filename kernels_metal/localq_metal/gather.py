"""Vectors times the matrices of a packed stack that they name: the experts of a mixture."""

from __future__ import annotations

import mlx.core as mx

from localq_metal.qmv import products
from localq_metal.source import Factory, Packed


def gather(factory: Factory, packed: Packed, x: mx.array, expert: mx.array) -> mx.array:
    """`x [m, in]` times matrix `expert[i]` of a packed stack `[n, out, in]` transposed: `[m, out]` in x's dtype.

    Sums are float32. Every row of `x` reads its whole matrix, also where several name the same one.
    """
    return products(factory, "gather", packed, [x, expert.astype(mx.uint32).reshape(-1)])
