"""nvfp4_modelopt: ModelOpt's NVFP4; weight = E2M1 * (weight_scale * weight_scale_2): it multiplies.

`weight` uint8 `[out, in / 2]`, the even input in the low nibble; `weight_scale` E4M3 `[out, in / 16]`;
`weight_scale_2` float32 `()`. MLX's nvfp4 holds codes and scales; the output is multiplied by the second scale.
Source: modelopt/torch/quantization/qtensor/nvfp4_tensor.py (NVFP4, W4A16_NVFP4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localq.formats.base import Match, PackedTensor, Part
from localq.formats.micro_floats import MicroFloat
from localq.formats.nvfp4 import NVFP4


class NVFP4ModelOpt(
    MicroFloat,
    name="nvfp4_modelopt",
    family="modelopt",
    bits=4,
    group_size=16,
    bits_per_weight=4.5,
    scale="E4M3 per 16 x float32 per matrix",
):
    twin = NVFP4
    codes_part = "weight"
    scales_dtype = "float8_e4m3fn"
    whole_part = "weight_scale_2"
    whole_shape = ()

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """No method has other arrays of these names and dtypes."""
        shape = cls.shape_of(stored)
        return None if shape is None else (cls, shape)

    @classmethod
    def whole(cls, t: PackedTensor, scales: NDArray[np.float32]) -> NDArray[np.float32]:
        second = t.parts[cls.whole_part]
        multiplied: NDArray[np.float32] = scales * second.reshape(*second.shape, *(1,) * (scales.ndim - second.ndim))
        return multiplied

    @classmethod
    def multiplier(cls, t: PackedTensor) -> NDArray[np.float32]:
        return np.asarray(t.parts[cls.whole_part], np.float32)
