"""nvfp4_packed: compressed-tensors' NVFP4; weight = E2M1 * (weight_scale / weight_global_scale): it divides.

`weight_packed` uint8 `[out, in / 2]`, the even input in the low nibble; `weight_scale` E4M3 `[out, in / 16]`;
`weight_global_scale` float32 `[1]`. MLX's nvfp4 holds codes and scales; the output is multiplied by the reciprocal.
Source: compressed_tensors/compressors/nvfp4 (nvfp4-pack-quantized, with or without quantised activations).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from localq.formats.arrays import NDArray
from localq.formats.base import Match, PackedTensor, Part
from localq.formats.micro_floats import MicroFloat
from localq.formats.nvfp4 import NVFP4


class NVFP4Packed(
    MicroFloat,
    name="nvfp4_packed",
    checked="compressed-tensors",
    family="compressed-tensors",
    bits=4,
    group_size=16,
    bits_per_weight=4.5,
    scale="E4M3 per 16 x float32 per matrix",
):
    twin = NVFP4
    scales_dtype = "float8_e4m3fn"
    whole_part = "weight_global_scale"

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """No method has other arrays of these names and dtypes."""
        shape = cls.shape_of(stored)
        return None if shape is None else (cls, shape)

    @classmethod
    def whole(cls, t: PackedTensor, scales: NDArray[np.float32]) -> NDArray[np.float32]:
        divided: NDArray[np.float32] = scales / _spread(t.parts[cls.whole_part], scales)
        return divided

    @classmethod
    def multiplier(cls, t: PackedTensor) -> NDArray[np.float32]:
        inverse: NDArray[np.float32] = np.reciprocal(t.parts[cls.whole_part].reshape(t.shape[:-2]))
        return inverse


def _spread(whole: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """One scale per matrix, `[..., 1]`, beside block scales `[..., out, groups]`."""
    return whole.reshape(*whole.shape[:-1], *(1,) * (scales.ndim - whole.ndim + 1))
