"""exl3_<bits>bit[_mcg|_mul1][_signs]: ExLlamaV3's trellis; 16 bits of a stream make each weight, then rotations.

`trellis` int16 `[in / 16, out / 16, 16 * bits]`: per tile of 16 x 16 weights a stream of 256 codes of `bits` bits,
the highest bit first in words of 32 (the two int16 of a word swapped). 1.5, 2.5 and 3.5 bits (mul1 alone) are codes of
1 and 2, 2 and 3, 3 and 4 bits in turn. The state of code i is the 16 bits that end
with it, running round the tile's end; a formula makes a half-precision number of a state, one of three:

    (none)  x = state * 89226354 + 64248484, then as mcg
    mcg     x = state * 0xCBAC1FED; the sum of both halves of x & 0x8FFF8FFF ^ 0x3B603B60, read as two float16
    mul1    x = state * 0x83DCD12D; (1024 + the sum of its bytes) * 0x1EEE + 0xC931, both read as float16

`mcg` and `mul1` are scalars whose presence says so. Codes lie in the order of a tensor core's registers. The decoded
matrix m `[in, out]` is rotated on both sides in blocks of 128 and scaled by `suh` `[in]` and `svh` `[out]` (older
files: signs as bits, `su`, `sv`, `[n / 16]`): W = suh * (H m H) / 128 * svh, and localq's weight is its transpose.
The original computes in half precision; here it is float32 from the codes on. Source (MIT): exllamav3
modules/quant/exl3.py, exl3_lib/quantize.py, exllamav3_ext/quant/{codebook,exl3_dq}.cuh.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import NDArray
from localq.formats.base import Format, Match, PackedTensor, Part
from localq.formats.hadamard import matrix, transform
from localq.formats.reselect import RowDecoder

_BLOCK, _TILE = 128, 16
_NAME = re.compile(r"exl3_([1-8]|[123]\.5)bit(_mcg|_mul1)?(_signs)?")


class EXL3(
    RowDecoder,
    name="exl3",
    checked="exllamav3",
    kernel="exl3",
    family="exl3",
    bits=4,
    group_size=0,
    block_size=_BLOCK,
    bits_per_weight=4 + 32 / 4096,
    scale="fp16 per input and per row",
    containers=("safetensors",),
    mains=("trellis",),
    suffixes=("trellis", "suh", "svh", "su", "sv", "mcg", "mul1"),
    scale_parts=("suh", "svh"),
    zero_scales=True,
    row_multiple=_BLOCK,
):
    book: ClassVar[str] = ""
    as_signs: ClassVar[bool] = False

    @classmethod
    def of(cls, bits: float, book: str = "", as_signs: bool = False) -> type[EXL3]:
        """The variant of this width and formula."""
        bits = int(bits) if bits % 1 == 0 else bits
        name = f"exl3_{bits}bit{f'_{book}' if book else ''}{'_signs' * as_signs}"
        stored = bits + (2 if as_signs else 32) / 4096
        return EXL3.variant(name, bits=bits, book=book, as_signs=as_signs, bits_per_weight=stored)

    @classmethod
    def find(cls, name: str) -> type[EXL3] | None:
        found = _NAME.fullmatch(name)
        if found is None or ("." in found[1] and found[2] != "_mul1"):
            return None
        return cls.of(float(found[1]), (found[2] or "")[1:], bool(found[3]))

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(4, "mul1"), cls.of(3, "mcg"), cls.of(2, as_signs=True)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if not shape or shape[-1] % _BLOCK:
            raise CheckpointError(f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of {_BLOCK}.")
        if len(shape) != 2 or shape[0] % _BLOCK:
            raise CheckpointError(f"A matrix of shape {shape} has no multiple of {_BLOCK} rows, as {cls.name} needs.")
        out, width = shape
        trellis = Part("int16", (width // _TILE, out // _TILE, int(_TILE * cls.bits)))
        if cls.as_signs:
            return {"trellis": trellis, "su": Part("int16", (width // 16,)), "sv": Part("int16", (out // 16,))}
        return {"trellis": trellis, "suh": Part("float16", (width,)), "svh": Part("float16", (out,))}

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        """The scalar that names the formula; its value is always the same and not read."""
        return {cls.book: Part("int32|uint32", ())} if cls.book else {}

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """The arrays say all: bits by the trellis' last axis, the formula by the scalars beside it."""
        if "trellis" not in stored:
            return None
        part = stored["trellis"]
        bits = part.shape[-1] / _TILE if len(part.shape) == 3 else 0
        if part.dtype != "int16" or bits not in (1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8):
            raise CheckpointError(
                f"trellis is {part.dtype} {part.shape}; expected int16 [in / 16, out / 16, 16 * bits] with 1 to 8 "
                f"bits, or 1.5, 2.5 or 3.5."
            )
        books = [name for name in ("mcg", "mul1") if name in stored]
        if len(books) > 1 or ({"suh", "svh"} & set(stored) and {"su", "sv"} & set(stored)):
            raise CheckpointError(f"A trellis is stored beside {', '.join(sorted(stored))}; some exclude each other.")
        if bits % 1 and books != ["mul1"]:
            raise CheckpointError(f"trellis is {part.shape}, of {bits} bits, which mul1 alone has; it is not stored.")
        form = cls.of(bits, books[0] if books else "", "su" in stored)
        return form, (part.shape[1] * _TILE, part.shape[0] * _TILE)

    @classmethod
    def decode_rows(cls, t: PackedTensor, at: NDArray[np.int64]) -> NDArray[np.float32]:
        left, right = (cls.vector(t, name) for name in ("su", "sv"))
        out = np.empty((len(at), t.shape[1]), np.float32)
        for block in np.unique(at // _BLOCK):
            chosen = np.flatnonzero(at // _BLOCK == block)
            tiles = t.parts["trellis"][:, block * 8 : block * 8 + 8]
            turned = transform(np.ascontiguousarray(cls.tiles(tiles).T), _BLOCK)  # [128 rows, in]: the inputs' side
            rows = (matrix(_BLOCK) @ turned)[at[chosen] % _BLOCK]  # the outputs'
            rows *= np.float32(1 / _BLOCK) * left
            rows *= right[at[chosen], None]
            out[chosen] = rows
        return out

    @classmethod
    def tiles(cls, trellis: NDArray[np.int16]) -> NDArray[np.float32]:
        """Decoded tiles `[rows, columns, 16 * bits]` as the matrix `[rows * 16, columns * 16]`, not rotated yet."""
        rows, columns = trellis.shape[:2]
        words = np.ascontiguousarray(trellis).view(np.uint32).astype(np.uint64).reshape(rows, columns, -1)
        first, last, shift = _windows(cls.bits)
        state = (words[..., first] << np.uint64(32) | words[..., last]) >> shift & np.uint64(0xFFFF)
        values = values_of(cls.book).take(state.astype(np.uint16))
        return values.reshape(rows, columns, _TILE, _TILE).transpose(0, 2, 1, 3).reshape(rows * _TILE, -1)

    @classmethod
    def vector(cls, t: PackedTensor, name: str) -> NDArray[np.float32]:
        """The vector `suh` or `svh`, or the signs `su` or `sv`."""
        if not cls.as_signs:
            return t.parts[f"{name}h"].astype(np.float32)
        bits = np.unpackbits(np.ascontiguousarray(t.parts[name]).view(np.uint8), bitorder="little")
        return np.float32(1) - np.float32(2) * bits

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        parts = {
            name: rng.integers(-(1 << 15), 1 << 15, part.shape, np.int16)
            if part.dtype == "int16"
            else rng.uniform(0.5, 1.5, part.shape).astype(np.float16)
            for name, part in layout.items()
        }
        return PackedTensor(cls, shape, parts)


@cache
def values_of(book: str) -> NDArray[np.float32]:
    """The weight of every state, float32 `[65536]`."""
    state = np.arange(1 << 16, dtype=np.uint32)
    if book == "mul1":
        x = state * np.uint32(0x83DCD12D)
        total = x.view(np.uint8).reshape(-1, 4).sum(axis=1, dtype=np.float64) + 1024
        factor, offset = (np.array(h, np.uint16).view(np.float16).astype(np.float64) for h in (0x1EEE, 0xC931))
        once: NDArray[np.float32] = (total * factor + offset).astype(np.float16).astype(np.float32)  # a fused product
        return once
    x = state * np.uint32(0xCBAC1FED) if book == "mcg" else state * np.uint32(89226354) + np.uint32(64248484)
    halves = ((x & np.uint32(0x8FFF8FFF)) ^ np.uint32(0x3B603B60)).view(np.float16).reshape(-1, 2)
    found: NDArray[np.float32] = (halves[:, 0] + halves[:, 1]).astype(np.float32)
    return found


@cache
def _windows(bits: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """For each place of a tile the words of 32 bits its state begins and ends in, and the shift after it."""
    ends = np.floor((_places() + 257) * bits).astype(np.int64)
    first, last = (ends - 16) // 32, (ends - 1) // 32
    words = int(8 * bits)
    return first % words, last % words, ((last + 1) * 32 - ends).astype(np.uint64)


def _places() -> NDArray[np.int64]:
    """For each place of a 16 x 16 tile, row by row, the code that lies there."""
    lane = np.arange(32)
    rows = lane[:, None] % 4 * 2 + np.array([0, 1, 8, 9] * 2)
    columns = lane[:, None] // 4 + np.array([0] * 4 + [8] * 4)
    return np.argsort((rows * _TILE + columns).reshape(-1))
