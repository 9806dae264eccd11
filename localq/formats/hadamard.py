"""Hadamard transforms of short vectors, in Sylvester's order, without a factor. No format of its own."""

from __future__ import annotations

from functools import cache

import numpy as np

from localq.formats.arrays import Floats

_BATCH = 64


@cache
def matrix(order: int) -> Floats:
    """H, float32 `[order, order]`, symmetric: entry (i, j) is -1 where i & j has an odd number of bits, else 1."""
    assert order > 0 and order & (order - 1) == 0, order
    found: Floats = np.ones((1, 1), np.float32)
    while len(found) < order:
        found = np.block([[found, found], [found, -found]])
    found.setflags(write=False)
    return found


def transform(rows: Floats, order: int) -> Floats:
    """`H @ x` for every vector x of the last axis `[..., n * order]`, cut into vectors of `order`, a power of two.

    A product of matrices: for vectors this short the BLAS is faster than numpy's butterflies. Vectors come to it in
    whole batches, so that few of them are added up in the same order as many.
    """
    vectors = rows.reshape(-1, order)
    count = len(vectors)
    if count % _BATCH:
        vectors = np.concatenate([vectors, np.zeros((-count % _BATCH, order), np.float32)])
    found: Floats = (vectors @ matrix(order))[:count].reshape(rows.shape)
    return found
