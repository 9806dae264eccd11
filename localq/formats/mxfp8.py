"""mxfp8: MLX's microscaling mode of 8 bits; weight = 2**(scale - 127) * E4M3, one scale byte per 32 weights.

`weight` holds four E4M3 codes a word, lowest byte first. Source: OCP Microscaling Formats 1.0; mlx/ops.cpp
`fp_dequantize`, mlx/backend/cpu/quantized.cpp.
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.mlx_floats import MLXFloatFormat, e4m3, e8m0, power_scales, to_e4m3


class MXFP8(
    MLXFloatFormat, name="mxfp8", bits=8, group_size=32, bits_per_weight=8.25, scale="E8M0 (power of two) per 32"
):
    mode = "mxfp8"

    @classmethod
    def code_values(cls) -> Array:
        return e4m3()

    @classmethod
    def scale_values(cls) -> NDArray[np.float32]:
        return e8m0()

    @classmethod
    def encode(cls, groups: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        scales = power_scales(groups, 448)
        return to_e4m3(np.ldexp(groups, 127 - scales.astype(np.int32)[:, None])), scales
