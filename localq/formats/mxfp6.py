"""mxfp6_<e3m2|e2m3>: OCP's MXFP6 as AMD Quark stores it; weight = 2**(scale - 127) * code, one scale byte per 32.

`weight` uint8 `[out, in * 3 / 4]`: four 6-bit floats in three bytes, a little-endian bitstream; `weight_scale` uint8
`[out, in / 32]`, E8M0. A code is a sign, 3 bits of exponent (bias 3) and 2 of mantissa, largest 28, or 2 of exponent
(bias 1) and 3 of mantissa, largest 7.5; neither has infinities or NaN. Every value of both is one of E4M3's, so MLX's
mxfp8 holds them exactly, at a third more memory.
Source: OCP Microscaling Formats 1.0, section 5.3; quark/torch/utils/pack.py `Pack_fp6`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Array, Floats, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part
from localq.formats.bits import unpack
from localq.formats.mlx_floats import e8m0

_NAME = re.compile(r"mxfp6_(e3m2|e2m3)")


class MXFP6(
    Format,
    name="mxfp6",
    checked="amd-quark, ml_dtypes",
    family="quark",
    bits=6,
    group_size=32,
    block_size=32,
    bits_per_weight=6.25,
    scale="E8M0 (power of two) per 32",
    containers=("safetensors",),
    mains=("weight",),
    suffixes=("weight", "weight_scale"),
    scale_parts=("weight_scale",),
    zero_scales=True,
    kernel="mxfp6",
):
    code: ClassVar[str] = "e3m2"

    @classmethod
    def of(cls, code: str) -> type[MXFP6]:
        """The variant of these codes."""
        return MXFP6.variant(f"mxfp6_{code}", code=code)

    @classmethod
    def find(cls, name: str) -> type[MXFP6] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(found[1])

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of("e3m2"), cls.of("e2m3")

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) < 2 or shape[-1] % cls.block_size:
            raise CheckpointError(f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of 32.")
        *lead, width = shape
        return {
            "weight": Part("uint8", (*lead, width // 4 * 3)),
            "weight_scale": Part("uint8", (*lead, width // 32)),
        }

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """By the config: nothing else tells the two codes apart."""
        dtype = str((quantization or {}).get("dtype"))
        if not quantization or quantization.get("quant_method") != "quark" or not dtype.startswith("fp6_"):
            return None
        main = stored.get("weight")
        if main is None or len(stored) == 1 or len(main.shape) < 2:
            return None
        return cls.of(dtype[4:]), (*main.shape[:-1], main.shape[-1] // 3 * 4)

    @classmethod
    def scales(cls, t: PackedTensor) -> dict[str, Array]:
        return {"weight_scale": e8m0().take(t.parts["weight_scale"])}

    @classmethod
    def dequantize(cls, t: PackedTensor) -> Floats:
        values = _values(cls.code).take(_codes(t)).reshape(*t.shape[:-1], -1, 32)
        values *= e8m0().take(t.parts["weight_scale"])[..., None]
        return values.reshape(t.shape)

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native:
        """mxfp8 with the same scales."""
        codes = _values(cls.code).astype(ml_dtypes.float8_e4m3fn).view(np.uint8).take(_codes(t))
        return Native("mxfp8", 8, 32, codes.view(np.uint32), np.ascontiguousarray(t.parts["weight_scale"]))

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        codes = rng.integers(0, 256, layout["weight"].shape, np.uint8)
        scales = rng.integers(118, 124, layout["weight_scale"].shape, np.uint8)
        return PackedTensor(cls, shape, {"weight": codes, "weight_scale": scales})


def _codes(t: PackedTensor) -> NDArray[np.uint8]:
    """6-bit codes `[..., out, in]`."""
    return unpack(np.ascontiguousarray(t.parts["weight"]).reshape(*t.shape[:-1], -1), 6)


@cache
def _values(code: str) -> Floats:
    """Values of the 64 codes: sign, exponent, mantissa; exponent 0 is subnormal."""
    mantissa_bits, bias = (2, 3) if code == "e3m2" else (3, 1)
    bits = np.arange(64)
    exponent, mantissa = bits >> mantissa_bits & (31 >> mantissa_bits), bits & (1 << mantissa_bits) - 1
    whole = np.where(exponent > 0, mantissa + (1 << mantissa_bits), mantissa).astype(np.float32)
    powers = np.maximum(exponent, 1) - bias - mantissa_bits
    values: Floats = np.where(bits & 32, -1, 1).astype(np.float32) * np.ldexp(whole, powers.astype(np.int32))
    return values
