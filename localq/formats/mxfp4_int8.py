"""mxfp4_int8: DeepSeek's FP4 experts among FP8 matrices; weight = 2**(scale - 127) * E2M1, one scale per 32 weights.

`weight` int8 `[..., out, in / 2]`, the even input in the low nibble; `weight_scale_inv` (DeepSeek's own files: `scale`)
E8M0 or its bytes `[..., out, in / 32]`. The bytes are those of MLX's mxfp4. Source: transformers/integrations
finegrained_fp8.py (`expert_dtype` "fp4", `Fp8Dequantize._unpack_fp4`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.errors import CheckpointError
from localq.formats.base import Format, Match, Part
from localq.formats.micro_floats import MicroFloat
from localq.formats.mxfp4 import MXFP4

_NAMES = {"weight_scale_inv": "mxfp4_int8_inv", "weight_scale": "mxfp4_int8_weight_scale", "scale": "mxfp4_int8_scale"}


class MXFP4Int8(
    MicroFloat,
    name="mxfp4_int8",
    checked="transformers",
    family="fp8",
    bits=4,
    group_size=32,
    bits_per_weight=4.25,
    scale="E8M0 (power of two) per 32",
    suffixes=("weight", *_NAMES),
):
    twin = MXFP4
    codes_part = "weight"
    codes_dtype = "int8"
    scales_dtype = "float8_e8m0fnu|uint8"

    @classmethod
    def of(cls, part: str) -> type[MXFP4Int8]:
        """The variant whose scales are stored as `part`."""
        return cls.variant(_NAMES[part], scales_part=part, scale_parts=(part,))

    @classmethod
    def find(cls, name: str) -> type[Format] | None:
        part = next((part for part, known in _NAMES.items() if known == name), None)
        return None if part is None else cls.of(part)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of("weight_scale_inv"), cls.of("scale")

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """int8 in a checkpoint of 8-bit floats."""
        main = stored.get("weight")
        if main is None or main.dtype != "int8" or len(main.shape) < 2:
            return None
        if not quantization or quantization.get("quant_method") != "fp8":
            return None
        said = quantization.get("expert_dtype")
        if said not in (None, "fp4"):
            raise CheckpointError(f"A matrix is int8 {main.shape}, FP4 pairs; the config's expert_dtype is {said!r}.")
        parts = [part for part in _NAMES if part in stored]
        if len(parts) != 1:
            raise CheckpointError(
                f"A matrix of FP4 pairs {main.shape} has {' and '.join(parts) or 'no scales'} beside it; one of "
                f"{', '.join(_NAMES)} was expected."
            )
        form = MXFP4Int8.of(parts[0])
        shape = form.shape_of(stored)
        if shape is None:
            scale = stored[parts[0]]
            raise CheckpointError(
                f"A matrix of FP4 pairs {main.shape} has {parts[0]} {scale.dtype} {scale.shape}; expected E8M0 or "
                f"uint8, one per 32 inputs, and nothing else."
            )
        return form, shape
