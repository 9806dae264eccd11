"""mxfp4_modelopt: ModelOpt's MXFP4; weight = 2**(scale - 127) * E2M1, one scale byte per 32 weights.

`weight` uint8 `[..., out, in / 2]`, the even input in the low nibble; `weight_scale` uint8 `[..., out, in / 32]`, E8M0.
The bytes are those of MLX's mxfp4, and AMD Quark's (`fp4` with `e8m0` scales).
Source: modelopt/torch/quantization/qtensor/mxfp4_tensor.py; quark/torch/utils/pack.py `Pack_fp4`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.formats.base import Match, Part
from localq.formats.micro_floats import MicroFloat
from localq.formats.mxfp4 import MXFP4


class MXFP4ModelOpt(
    MicroFloat,
    name="mxfp4_modelopt",
    checked="modelopt, amd-quark",
    family="modelopt",
    bits=4,
    group_size=32,
    bits_per_weight=4.25,
    scale="E8M0 (power of two) per 32",
):
    twin = MXFP4
    codes_part = "weight"

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """Told from int4 by scales that are bytes; others have bytes of these names too, so the config must say it."""
        method, dtype = ((quantization or {}).get(key) for key in ("quant_method", "dtype"))
        if method != "modelopt" and (method, dtype) != ("quark", "fp4"):
            return None
        shape = cls.shape_of(stored)
        return None if shape is None else (cls, shape)
