"""quanto_int<bits>_g<group>: optimum-quanto's qint4 and qint2; weight = _scale * code - _shift.

The matrix `[out, in]` is cut into rows of `group` weights, n = out * in / group of them. `weight._data._data` uint8
`[ceil(n * bits / 8), group]` packs these rows in blocks: byte row r holds row r in its lowest bits, then rows r + R,
r + 2 R, ... (R byte rows in all). `weight._scale` and `weight._shift` `[n, 1]`; an integer _shift is a zero point,
taken from the codes before. The group is 128, 96, 64 or 32, the first that divides `in`, or all of a row of 128 or
less, or of one that none divides. The file does not say `out` and `in`; quanto has them from the model it loads into,
and localq from the config: `localq/checkpoints/methods/quanto.py`. Source: optimum-quanto 0.2.7, nn/qmodule.py,
tensor/packed.py, tensor/grouped.py, tensor/qbits.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Floats, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part
from localq.formats.bits import pack
from localq.formats.integers import affine, affine_group, narrowest
from localq.formats.reselect import RowDecoder

_FLOATS = "float16|bfloat16|float32"
_NAME = re.compile(r"quanto_int([24])_g([1-9]\d*)")
_DATA = "weight._data._data"


class QuantoGroups(
    RowDecoder,
    name="quanto_groups",
    checked="optimum-quanto",
    family="quanto",
    bits=4,
    group_size=128,
    bits_per_weight=4 + 32 / 128,
    symmetric=False,
    scale="16-bit float per 128, with a shift",
    containers=("safetensors",),
    mains=(_DATA,),
    suffixes=(_DATA, "weight._scale", "weight._shift"),
    scale_parts=("weight._scale",),
    zero_scales=True,
    same_size=True,
):
    @classmethod
    def of(cls, bits: int, group: int) -> type[QuantoGroups]:
        """The variant of this width and so many weights a scale."""
        return QuantoGroups.variant(
            f"quanto_int{bits}_g{group}",
            bits=bits,
            group_size=group,
            block_size=group,
            bits_per_weight=bits + 32 / group,
            scale=f"16-bit float per {group}, with a shift",
        )

    @classmethod
    def find(cls, name: str) -> type[QuantoGroups] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(int(found[1]), int(found[2]))

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(4, 128), cls.of(2, 64)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if not shape or shape[-1] % cls.group_size:
            raise CheckpointError(
                f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of {cls.group_size}."
            )
        if len(shape) != 2:
            raise CheckpointError(f"{cls.name} packs matrices; this is {shape}.")
        rows = shape[0] * shape[1] // cls.group_size
        return {
            _DATA: Part("uint8", (-(-rows * int(cls.bits) // 8), cls.group_size)),
            "weight._scale": Part(_FLOATS, (rows, 1)),
            "weight._shift": Part(f"{_FLOATS}|int8|uint8", (rows, 1)),
        }

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """Codes and scales say how many weights there are; `width` or `rows` of the settings, of which shape."""
        if _DATA not in stored:
            return None
        said = quantization or {}
        width, out = int(said.get("width", 0)), int(said.get("rows", 0))
        if not width and not out:
            raise UnsupportedError(
                "quanto's int4 and int2 weights (weight._data._data) are stored without the shape of their matrix, and "
                "neither quanto_qmap.json nor the model's hidden_size says it for this module.",
                "Take the model in quanto's int8 or float8, or quantise the original with localq quantize.",
            )
        data, scale = stored[_DATA].shape, stored["weight._scale"].shape if "weight._scale" in stored else ()
        if len(data) != 2 or len(scale) != 2 or not (data[0] and data[1] and scale[0]):
            raise CheckpointError(
                f"{_DATA} is {data} and weight._scale {scale}; expected [n * bits / 8, group] and [n, 1]."
            )
        bits = next((b for b in (4, 2) if -(-scale[0] * b // 8) == data[0]), 0)
        if not bits or (bits == 2 and -(-scale[0] * 4 // 8) == data[0]):
            raise CheckpointError(
                f"{_DATA} has {data[0]} rows for {scale[0]} scales; expected a half or a quarter of them."
            )
        total = scale[0] * data[1]
        width = width or total // out
        if total % width or (out or total // width) * width != total or group_of(width) != data[1]:
            raise CheckpointError(
                f"{_DATA} and weight._scale hold {scale[0]} groups of {data[1]} weights; expected rows of {width} in "
                f"groups of {group_of(width)}" + (f", {out} of them." if out else ".")
            )
        if said.get("weights") not in (None, f"qint{bits}"):
            raise CheckpointError(f"quanto_qmap.json says {said['weights']!r}; the arrays are those of qint{bits}.")
        return cls.of(bits, data[1]), (total // width, width)

    @classmethod
    def codes(cls, t: PackedTensor, at: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Rows `at` of the matrix `[n, group]`."""
        data, bits = t.parts[_DATA], int(cls.bits)
        shift = (bits * (at // len(data))).astype(np.uint8)[:, None]
        found: NDArray[np.uint8] = data[at % len(data)] >> shift & np.uint8((1 << bits) - 1)
        return found

    @classmethod
    def decode_rows(cls, t: PackedTensor, at: NDArray[np.int64]) -> Floats:
        each = t.shape[1] // cls.group_size
        groups = (at[:, None] * each + np.arange(each)).reshape(-1)
        scale, shift = (t.parts[f"weight.{n}"][groups] for n in ("_scale", "_shift"))
        out = cls.codes(t, groups).astype(np.float32)
        if shift.dtype.kind in "iu":
            out -= shift.astype(np.float32)
            out *= scale.astype(np.float32)
        else:
            out *= scale.astype(np.float32)
            out -= shift.astype(np.float32)
        return out.reshape(len(at), t.shape[1])

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return bool(affine_group(cls.group_size, t.shape[-1]))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine with bias = -_shift; exact unless float32 scales times codes are rounded."""
        return cls.native_rows(t, slice(0, t.shape[0]))

    @classmethod
    def native_rows(cls, t: PackedTensor, rows: slice) -> Native | None:
        out, width = t.shape
        size, bits = affine_group(cls.group_size, width), int(cls.bits)
        if not size:
            return None
        scale, shift = (t.parts[f"weight.{n}"].reshape(out, -1)[rows] for n in ("_scale", "_shift"))
        first = rows.start * scale.shape[1]
        words = pack(cls.codes(t, np.arange(first, first + scale.size)).reshape(-1, width), bits)
        scales = scale.astype(np.float32)
        if shift.dtype.kind in "iu":
            return affine(words, bits, cls.group_size, scales, shift.astype(np.float32))
        exact = scales.astype(np.float64) * ((1 << bits) - 1)
        off = np.abs((scales * np.float32((1 << bits) - 1)).astype(np.float64) - exact)
        error = float((off / np.where(scales == 0, 1, np.abs(scales))).max(initial=0))
        small = (np.repeat(a, cls.group_size // size, axis=-1) for a in narrowest(scales, -shift.astype(np.float32)))
        kind: Any = "rounded" if error else "exact"
        return Native("affine", bits, size, words, next(small), next(small), exactness=kind, error=error)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        top = (1 << int(cls.bits)) - 1
        parts = {
            _DATA: rng.integers(0, 256, layout[_DATA].shape, np.uint8),
            "weight._scale": (rng.uniform(0.5, 1.5, layout["weight._scale"].shape) / (top + 1)).astype(np.float16),
            "weight._shift": rng.uniform(0.4, 0.6, layout["weight._shift"].shape).astype(np.float16),
        }
        return PackedTensor(cls, shape, parts)


def group_of(width: int) -> int:
    """Weights of a row of `width` that share a scale, as quanto chooses."""
    return next((group for group in (128, 96, 64, 32) if width > 128 and width % group == 0), width)
