"""mxfp4: MLX's microscaling mode of 4 bits; weight = 2**(scale - 127) * E2M1, one scale byte per 32 weights.

`weight` holds eight E2M1 codes a word, lowest nibble first. Source: OCP Microscaling Formats 1.0; mlx/ops.cpp
`fp_dequantize`, mlx/backend/cpu/quantized.cpp.
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.mlx_floats import MLXFloatFormat, e2m1_pairs, e8m0, power_scales
from localq.formats.rounding import nearest_e2m1


class MXFP4(
    MLXFloatFormat, name="mxfp4", bits=4, group_size=32, bits_per_weight=4.25, scale="E8M0 (power of two) per 32"
):
    mode = "mxfp4"

    @classmethod
    def code_values(cls) -> Array:
        return e2m1_pairs()

    @classmethod
    def scale_values(cls) -> NDArray[np.float32]:
        return e8m0()

    @classmethod
    def encode(cls, groups: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        scales = power_scales(groups, 6)
        return nearest_e2m1(np.ldexp(groups, 127 - scales.astype(np.int32)[:, None])), scales
