"""mxfp4_packed: compressed-tensors' MXFP4; weight = 2**(scale - 127) * E2M1, one scale byte per 32 weights.

`weight_packed` uint8 `[out, in / 2]`, the even input in the low nibble; `weight_scale` uint8 `[out, in / 32]`, E8M0.
The bytes are those of MLX's mxfp4. Source: compressed_tensors/compressors/mxfp4 (mxfp4-pack-quantized); AutoRound
writes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.formats.base import Match, Part
from localq.formats.micro_floats import MicroFloat
from localq.formats.mxfp4 import MXFP4


class MXFP4Packed(
    MicroFloat,
    name="mxfp4_packed",
    checked="compressed-tensors",
    family="compressed-tensors",
    bits=4,
    group_size=32,
    bits_per_weight=4.25,
    scale="E8M0 (power of two) per 32",
):
    twin = MXFP4

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """No method has other arrays of these names and dtypes."""
        shape = cls.shape_of(stored)
        return None if shape is None else (cls, shape)
