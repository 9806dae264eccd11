"""quanto_int8 and quanto_float8: optimum-quanto's 8-bit weights; weight = _data * _scale.

`weight._data` int8 or float8 `[out, in]`, `weight._scale` `[out, 1]` in the model's dtype. int4 and int2 are
`quanto_groups`. Scales of activations lie beside them unused. Source:
optimum/quanto/tensor/qbytes.py, weights/qbytes.py, nn/qmodule.py, 0.2.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part
from localq.formats.rows_of_bytes import native_rows

_FLOATS = "float8_e4m3fn|float8_e5m2"


class Quanto(Format):
    """Both kinds of bytes."""

    codes: ClassVar[str] = ""

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {
            "weight._data": Part(cls.codes, shape),
            "weight._scale": Part("float16|bfloat16|float32", (*shape[:-1], 1)),
        }

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """The arrays say all; quanto's own files have no settings in config.json, but a quanto_qmap.json."""
        if "weight._data" not in stored:
            return None
        part = stored["weight._data"]
        if part.dtype not in cls.codes.split("|"):
            return None
        if len(part.shape) != 2 or 0 in part.shape:
            raise CheckpointError(f"weight._data is {part.dtype} {part.shape}; expected [out, in].")
        return cls, part.shape

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        out = t.parts["weight._data"].astype(np.float32)
        out *= t.parts["weight._scale"].astype(np.float32)
        return out


_FACTS: dict[str, Any] = {
    **{
        "family": "quanto",
        "bits": 8,
        "group_size": 0,
        "bits_per_weight": 8 + 16 / 4096,
        "scale": "16-bit float per row",
    },
    **{"containers": ("safetensors",), "mains": ("weight._data",), "zero_scales": True},
    **{"scale_parts": ("weight._scale",), "suffixes": ("weight._data", "weight._scale")},
}


class QuantoInt8(Quanto, name="quanto_int8", checked="optimum-quanto", **_FACTS, same_size=True):
    codes = "int8"

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine: unit scales, and a multiplier for every row."""
        return native_rows(t.parts["weight._data"], t.parts["weight._scale"][:, 0].astype(np.float32))

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        scale = rng.uniform(0.005, 0.01, (shape[0], 1)).astype(np.float16)
        return PackedTensor(
            cls, shape, {"weight._data": rng.integers(-127, 128, shape, np.int8), "weight._scale": scale}
        )


class QuantoFloat8(Quanto, name="quanto_float8", checked="optimum-quanto", kernel="fp8", **_FACTS):
    codes = _FLOATS

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        import ml_dtypes

        codes = rng.standard_normal(shape).astype(np.float32).astype(ml_dtypes.float8_e4m3fn)
        scale = rng.uniform(0.5, 1, (shape[0], 1)).astype(np.float16)
        return PackedTensor(cls, shape, {"weight._data": codes, "weight._scale": scale})
