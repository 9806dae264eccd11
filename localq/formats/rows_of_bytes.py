"""Signed 8-bit codes with one scale a row as MLX's affine: unit scales, the row's scale multiplies the output.

Repeated per group, float32 scales would add up to a quarter to the size. No format of its own.
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import Native
from localq.formats.bits import pack
from localq.formats.integers import affine_group


def native_rows(codes: Array, scales: NDArray[np.float32], exact: bool = True) -> Native | None:
    """int8 codes `[out, in]`, scales `[out]`; None where no group of MLX's divides a row.

    `exact` False: the format multiplies in two steps, which round otherwise than one product by `scales` does.
    """
    group = affine_group(codes.shape[-1], codes.shape[-1])
    if not group:
        return None
    words = pack((codes.view(np.uint8) ^ np.uint8(0x80)), 8)
    shape = (*codes.shape[:-1], codes.shape[-1] // group)
    error = 0.0 if exact else 127 * 2.0**-23  # an ulp of the largest code's weight, in steps
    return Native(
        "affine",
        8,
        group,
        words,
        np.ones(shape, np.float16),
        np.full(shape, -128, np.float16),
        multiplier=np.ascontiguousarray(scales, np.float32),
        exactness="exact" if exact else "rounded",
        error=error,
    )
