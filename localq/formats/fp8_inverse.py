"""fp8_inverse_<code>_<grain>: gptqmodel's FP8; weight = code / weight_scale_inv, the one writer whose inverse is one.

`weight` E4M3 or E5M2 `[out, in]`; `weight_scale_inv` float32, the largest 8-bit float over the largest weight: `()` of
a tensor, `[out]` of rows, `[out / B, in / B]` of blocks (the config's weight_block_size, whose sides divide the
matrix'). Nothing but the config's `weight_scale_semantics` "inverse" tells it from DeepSeek's arrays of the same names,
which are multiplied. Source: gptqmodel 7.7.0, nn_modules/qlinear/fp8.py, quantization/dtype.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Floats, NDArray
from localq.formats.base import Format, Match, PackedTensor, Part
from localq.formats.reselect import RowDecoder

_CODES = {"float8_e4m3fn": "e4m3", "float8_e5m2": "e5m2"}
_DTYPES = {code: dtype for dtype, code in _CODES.items()}
_NAME = re.compile(r"fp8_inverse_(e4m3|e5m2)_(tensor|row|block([1-9]\d*)x([1-9]\d*))")
_SCALE = "weight_scale_inv"


class FP8Inverse(
    RowDecoder,
    name="fp8_inverse",
    checked="gptqmodel",
    family="fp8",
    bits=8,
    group_size=0,
    bits_per_weight=8 + 32 / 4096,
    scale="float32 per tensor, row or block, a divisor",
    containers=("safetensors",),
    suffixes=("weight", _SCALE),
    scale_parts=(_SCALE,),
    kernel="fp8",
):
    code: ClassVar[str] = "e4m3"
    block: ClassVar[tuple[int, int]] = (0, 0)  # (0, 0): a scale for the tensor; (1, 0): for every row

    @classmethod
    def of(cls, code: str, block: tuple[int, int]) -> type[FP8Inverse]:
        """The variant of these codes and sides of a block."""
        grain = {(0, 0): "tensor", (1, 0): "row"}.get(block, f"block{block[0]}x{block[1]}")
        bits = {(0, 0): 0.0, (1, 0): 32 / 4096}.get(block, 32 / max(1, block[0] * block[1]))
        name = f"fp8_inverse_{code}_{grain}"
        return FP8Inverse.variant(name, code=code, block=block, group_size=block[1], bits_per_weight=8 + bits)

    @classmethod
    def find(cls, name: str) -> type[FP8Inverse] | None:
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        plain = {"tensor": (0, 0), "row": (1, 0)}.get(found[2])
        return cls.of(found[1], plain or (int(found[3]), int(found[4])))

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of("e4m3", (1, 0)), cls.of("e4m3", (4, 32)), cls.of("e5m2", (0, 0))

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        rows, columns = cls.block
        if len(shape) != 2 or (columns and (shape[0] % rows or shape[1] % columns)):
            raise CheckpointError(
                f"A matrix of whole blocks of {rows} x {columns} was expected of {cls.name}: {shape}."
            )
        grids = {(0, 0): (), (1, 0): shape[:1]}
        scale = grids.get(cls.block, (shape[0] // max(rows, 1), shape[1] // max(columns, 1)))
        return {"weight": Part(_DTYPES[cls.code], shape), _SCALE: Part("float32", scale)}

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        said = quantization or {}
        semantics, main = said.get("weight_scale_semantics"), stored.get("weight")
        if semantics is None or main is None or not main.dtype.startswith("float8") or _SCALE not in stored:
            return None
        if semantics != "inverse" or main.dtype not in _CODES:
            raise UnsupportedError(
                f"8-bit floats {main.dtype} with weight_scale_semantics {semantics!r}; localq knows 'inverse' and "
                f"{', '.join(_CODES)}."
            )
        ndim = len(stored[_SCALE].shape)
        block = said.get("weight_block_size")
        if ndim == 2 and not (
            isinstance(block, list) and len(block) == 2 and all(type(n) is int and n > 0 for n in block)
        ):
            raise CheckpointError(f"The config's weight_block_size is {block!r}; two positive numbers were expected.")
        sides = {0: (0, 0), 1: (1, 0), 2: tuple(block or ())}.get(ndim)
        if sides is None:
            raise CheckpointError(
                f"{_SCALE} is {stored[_SCALE].shape}; a number, one a row or one a block was expected."
            )
        return cls.of(_CODES[main.dtype], (sides[0], sides[1])), main.shape

    @classmethod
    def decode_rows(cls, t: PackedTensor, at: NDArray[np.int64]) -> Floats:
        out: Floats = t.parts["weight"][at].astype(np.float32)
        scale, (rows, columns) = t.parts[_SCALE], cls.block
        if columns:
            out /= np.repeat(scale[at // rows], columns, axis=1)
        else:
            out /= scale[at, None] if rows else scale
        return out

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        codes = rng.standard_normal(shape).astype(np.float32).astype(getattr(ml_dtypes, _DTYPES[cls.code]))
        scale = rng.uniform(0.5, 2, cls.layout(shape)[_SCALE].shape)
        return PackedTensor(cls, shape, {"weight": codes, _SCALE: np.asarray(scale, np.float32)})
