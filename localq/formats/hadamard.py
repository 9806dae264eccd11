"""Hadamard transforms of short vectors, in Sylvester's order, without a factor. No format of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def transform(rows: NDArray[np.float32], order: int) -> NDArray[np.float32]:
    """`H @ x` for every vector x of the last axis `[..., n * order]`, cut into vectors of `order`, a power of two."""
    assert order & (order - 1) == 0 and rows.shape[-1] % order == 0, (rows.shape, order)
    out = np.array(rows, np.float32).reshape(-1, order)
    half = 1
    while half < order:
        pairs = out.reshape(len(out), -1, 2, half)
        low = pairs[:, :, 0] + pairs[:, :, 1]
        pairs[:, :, 1] = pairs[:, :, 0] - pairs[:, :, 1]
        pairs[:, :, 0] = low
        half *= 2
    return out.reshape(rows.shape)
