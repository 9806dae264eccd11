"""nvfp4: MLX's mode of NVIDIA's 4-bit floats; weight = scale * E2M1, one E4M3 scale byte per 16 weights.

`weight` holds eight E2M1 codes a word, lowest nibble first. NVIDIA's second scale, one float32 a tensor, is not part
of MLX's mode; an MLX checkpoint that stores one (`global_scale`, experts only) is refused. Source: mlx/ops.cpp
`fp_dequantize`, mlx/backend/cpu/quantized.cpp; mlx_lm/models/switch_layers.py.
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.mlx_floats import MLXFloatFormat, e2m1_pairs, e4m3, to_e4m3
from localq.formats.rounding import nearest_e2m1


class NVFP4(MLXFloatFormat, name="nvfp4", bits=4, group_size=16, bits_per_weight=4.5, scale="E4M3 per 16"):
    mode = "nvfp4"

    @classmethod
    def code_values(cls) -> Array:
        return e2m1_pairs()

    @classmethod
    def scale_values(cls) -> NDArray[np.float32]:
        return e4m3()

    @classmethod
    def encode(cls, groups: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        scales = to_e4m3(np.abs(groups).max(axis=1) / np.float32(6))
        divided = groups / e4m3()[scales][:, None]
        return nearest_e2m1(np.where(scales[:, None] > 0, divided, np.float32(0))), scales
