"""bnb_int8: bitsandbytes' LLM.int8(); weight[n, k] = int8[n, k] * SCB[n] / 127.

`weight` int8 `[out, in]`, `SCB` float32 `[out]` (the largest magnitude of a row), `weight_format` uint8 `[]`, 0 for
rows as they are. The original computes with int8 activations except in columns of outliers; localq computes with
float activations, which is what those approximate. bnb_int8_scb is gptqmodel's: `weight_scb` [out], int8 times
(weight_scb / 127), which rounds otherwise. Source: bitsandbytes/nn/modules.py (`Linear8bitLt`),
backends/default/ops.py (`int8_vectorwise_dequant`), 0.50; gptqmodel/nn_modules/qlinear/bitsandbytes.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part
from localq.formats.rows_of_bytes import native_rows

_STEP = 1 / 127  # in float32
_TILES = {1: "col32", 2: "col_turing", 3: "col_ampere"}


class BNBInt8(
    Format,
    name="bnb_int8",
    checked="bitsandbytes, gptqmodel",
    family="bitsandbytes",
    bits=8,
    group_size=0,
    bits_per_weight=8 + 32 / 4096,
    scale="float32 per row",
    containers=("safetensors",),
    suffixes=("weight", "SCB", "weight_format", "weight_scb"),
    scale_parts=("SCB",),
    zero_scales=True,
    same_size=True,
):
    part: ClassVar[str] = "SCB"

    @classmethod
    def gptqmodel(cls) -> type[BNBInt8]:
        """The variant that gptqmodel writes."""
        return BNBInt8.variant("bnb_int8_scb", part="weight_scb", scale_parts=("weight_scb",))

    @classmethod
    def find(cls, name: str) -> type[BNBInt8] | None:
        return cls.gptqmodel() if name == "bnb_int8_scb" else None

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {"weight": Part("int8", shape), cls.part: Part("float32", shape[:-1])}

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {"weight_format": Part("uint8", ())} if cls.part == "SCB" else {}

    @classmethod
    def check(cls, parts: Mapping[str, Array]) -> None:
        found = int(parts["weight_format"]) if "weight_format" in parts else 0
        if found in _TILES:
            raise UnsupportedError(
                f"weight_format {found} is {_TILES[found]}, an order of CUDA tiles; localq knows 0, rows as they are.",
                "Save the model again with bitsandbytes 0.45 or later.",
            )
        if found:
            raise CheckpointError(f"weight_format is {found}; 0 to 3 were expected.")

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        own = "weight_scb" in stored
        if ("SCB" not in stored and not own) or "weight" not in stored:
            return None
        weight = stored["weight"]
        if weight.dtype != "int8" or len(weight.shape) != 2 or 0 in weight.shape:
            raise CheckpointError(
                f"A weight beside {'weight_scb' if own else 'SCB'} is {weight.dtype} {weight.shape}; "
                f"expected int8 [out, in]."
            )
        if "weight_format" in stored and stored["weight_format"].shape == ():
            cls.check({"weight_format": stored["weight_format"].values()})
        return cls.gptqmodel() if own else cls, weight.shape

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        out = t.parts["weight"].astype(np.float32)
        if cls.part == "weight_scb":
            out *= (t.parts[cls.part] / np.float32(127))[..., None]
            return out
        out *= t.parts[cls.part][..., None]
        out *= np.float32(_STEP)  # in this order, as the original
        return out

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine: unit scales, and SCB / 127 as the rows' multiplier."""
        if cls.part == "weight_scb":
            return native_rows(t.parts["weight"], np.asarray(t.parts[cls.part] / np.float32(127), np.float32))
        return native_rows(t.parts["weight"], t.parts[cls.part] * np.float32(_STEP), exact=False)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        codes = rng.integers(-127, 128, shape, np.int8)
        return PackedTensor(
            cls, shape, {"weight": codes, cls.part: rng.uniform(0.5, 1.5, shape[:-1]).astype(np.float32)}
        )
