"""mxfp8_bytes: MXFP8 as compressed-tensors and ModelOpt store it; weight = 2**(scale - 127) * E4M3.

`weight` E4M3 `[out, in]`, `weight_scale` uint8 or E8M0 `[out, in / 32]`. The bytes are those of MLX's mxfp8.
Source: compressed_tensors (mxfp8-quantized); modelopt/torch/export (MXFP8).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.formats.base import Match, Part
from localq.formats.micro_floats import MicroFloat
from localq.formats.mxfp8 import MXFP8


class MXFP8Bytes(
    MicroFloat,
    name="mxfp8_bytes",
    checked="compressed-tensors, modelopt",
    family="compressed-tensors",
    bits=8,
    group_size=32,
    bits_per_weight=8.25,
    scale="E8M0 (power of two) per 32",
):
    twin = MXFP8
    codes_part = "weight"
    codes_dtype = "float8_e4m3fn"
    scales_dtype = "uint8|float8_e8m0fnu"

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """Told from FP8 with other scales by one power of two per 32 inputs."""
        main, scales = stored.get("weight"), stored.get("weight_scale")
        if main is None or scales is None or len(main.shape) < 2 or main.shape[-1] % 32:
            return None
        if scales.shape != (*main.shape[:-1], main.shape[-1] // 32):
            return None
        shape = cls.shape_of(stored)
        return None if shape is None else (cls, shape)
