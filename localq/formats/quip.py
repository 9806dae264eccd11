"""quip_<bits>bit: QuIP#; points of the lattice E8 between two rotations, 2, 3 or 4 bits a weight.

`Qidxs` int64 `[out, in / 32 * n]` holds one or two layers of codes, for every 8 weights of a row (n = 1, 1.5, 2):

    2 bits  E8P                   3 bits  E8P + (E8's short vectors) / 2.04          4 bits  E8P + E8P / 3.45

(the config may give another divisor, `resid_scale_override`). E8P codes of 16 bits, `localq/formats/e8p.py`, lie in
`in / 32` columns, in tiles of 16 rows by 64 inputs, 2 rows by 16 inputs an int64: its four codes i are at row i % 2
and inputs 8 * (i / 2); their high bytes lie in the low 32 bits, byte i, their low bytes above them, bit j of code i at
4 j + i. The short vectors' codes are 8 bits, in order, in `in / 64` further columns. The decoded matrix D is rotated
on both sides by H = (H_odd kron H_2^k) / sqrt(n), `localq/formats/hadamard_orders.py`:

    W = diag(SV * Wscale) * H_out D H_in^T * diag(SU)          columns divided by `scaleWH` where that is stored

`codebook_id` is 7, 18 or 17. Q, K and V are one matrix, and so are up and gate; `fuse_scales` has a factor for each
of them. A piece is a variant with its rows, of the same arrays. The original computes in half precision; here it is
float32 from the codes on. Source: github.com/Cornell-RelaxML/quip-sharp (GPL: facts of layout alone), lib/codebook,
lib/linear, lib/utils/matmul_had.py, model version 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Floats, NDArray
from localq.formats.base import Format, Match, PackedTensor, Part
from localq.formats.e8p import e8_short, e8p
from localq.formats.hadamard_orders import factors, product
from localq.formats.reselect import RowDecoder

_FLOATS = "float16|bfloat16|float32"
_NAME = re.compile(r"quip_([234])bit(?:_x(\d+(?:\.\d+)?))?(?:_(\d+)to(\d+)of(\d+)_(\d)of(\d))?")


class _Book(NamedTuple):
    bits: int
    name: str
    version: int
    divisor: float  # of the second layer


_BOOKS = {7: _Book(2, "E8P12", 1, 0.0), 18: _Book(3, "E8P12RVQ3B", 0, 2.04), 17: _Book(4, "E8P12RVQ4B", 1, 3.45)}
_BY_BITS = {book.bits: (number, book) for number, book in _BOOKS.items()}


class QuIP(
    RowDecoder,
    name="quip",
    checked="quip-sharp",
    kernel="quip",
    family="quip",
    bits=2,
    group_size=0,
    block_size=64,
    bits_per_weight=2 + 32 / 4096,
    scale="fp16 per input and per row",
    containers=("safetensors",),
    mains=("Qidxs",),
    suffixes=("Qidxs", "SU", "SV", "Wscale", "codebook_id", "fuse_scales", "scaleWH"),
    scale_parts=("SU", "SV", "Wscale", "fuse_scales", "scaleWH"),
    zero_scales=True,
    row_multiple=16,
    mixed_rows=True,
):
    divisor: ClassVar[float] = 0.0
    piece: ClassVar[tuple[int, ...]] = ()  # rows from, to and of how many, and which of how many pieces

    @classmethod
    def of(cls, bits: int, divisor: float = 0.0, piece: tuple[int, ...] = ()) -> type[QuIP]:
        """The variant of this width, its second layer divided by `divisor` (0: by the codebook's own)."""
        own = _BY_BITS[bits][1].divisor
        divisor = own if bits == 2 or divisor == 0 else divisor
        name = f"quip_{bits}bit{'' if divisor == own else f'_x{divisor}'}"
        if piece:
            name += "_{}to{}of{}_{}of{}".format(*piece)
        share = (piece[1] - piece[0]) / piece[2] if piece else 1.0
        facts = {"bits": bits, "divisor": divisor, "piece": piece, "share": share}
        return QuIP.variant(name, **facts, bits_per_weight=bits + 32 / 4096)

    @classmethod
    def find(cls, name: str) -> type[QuIP] | None:
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        piece = tuple(int(n) for n in found.groups()[2:]) if found[3] else ()
        if piece and not (0 <= piece[0] < piece[1] <= piece[2] and piece[3] < piece[4]):
            return None
        return cls.of(int(found[1]), float(found[2] or 0), piece)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(2), cls.of(3), cls.of(4)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if not shape or shape[-1] % 64 or factors(shape[-1]) is None:
            raise CheckpointError(
                f"A row of {shape[-1:]} weights has no rotation of QuIP#'s: a multiple of {cls.name}'s block of 64 was "
                f"expected, a power of two or one times 12, 20, 28, ... 172."
            )
        rows = cls.piece[2] if cls.piece else shape[0]
        if len(shape) != 2 or rows % 16 or factors(rows) is None:
            raise CheckpointError(f"A matrix of {rows} rows ({shape}) is no multiple of {cls.name}'s 16 rows.")
        return {
            "Qidxs": Part("int64", (rows, shape[1] // 64 * int(cls.bits))),
            "SU": Part(_FLOATS, (shape[1],)),
            "SV": Part(_FLOATS, (rows,)),
            "Wscale": Part(_FLOATS, ()),
            "codebook_id": Part("int64", ()),
        }

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        fused = {"fuse_scales": Part(_FLOATS, (cls.piece[4],))} if cls.piece else {}
        return {"scaleWH": Part("float32", (shape[1],)), **fused}

    @classmethod
    def check(cls, parts: Mapping[str, Any]) -> None:
        number = _BY_BITS[int(cls.bits)][0]
        if int(parts["codebook_id"]) != number:
            raise CheckpointError(f"codebook_id is {int(parts['codebook_id'])}; {cls.name} has {number}.")
        if bool(cls.piece) != ("fuse_scales" in parts):
            raise CheckpointError(f"fuse_scales, the factors of a fused matrix' pieces, do not belong to {cls.name}.")

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if "Qidxs" not in stored:
            return None
        said = quantization or {}
        book = _book_of(said, stored)
        if bool(said.get("rescale_WH")) != ("scaleWH" in stored):
            raise CheckpointError(
                f"The config says rescale_WH {said.get('rescale_WH')!r}; {', '.join(stored)} are stored."
            )
        part = stored["Qidxs"]
        columns = part.shape[1] if len(part.shape) == 2 else 0
        if columns == 0 or columns % book.bits:
            raise CheckpointError(f"Qidxs is {part.dtype} {part.shape}; expected int64 [out, in / 64 * {book.bits}].")
        divisor = said.get("resid_scale_override", -1)
        if not isinstance(divisor, (int, float)) or not divisor < 1e6:
            raise CheckpointError(f"resid_scale_override is {divisor!r}; a number was expected.")
        piece = tuple(said.get("piece", ())) if "fuse_scales" in stored else ()
        form = cls.of(book.bits, float(max(divisor, 0)), piece)
        return form, (piece[1] - piece[0] if piece else part.shape[0], columns // book.bits * 64)

    @classmethod
    def decode_rows(cls, t: PackedTensor, at: NDArray[np.int64]) -> Floats:
        """All of it is decoded for any row: the outer rotation mixes them."""
        turned = product(cls.points(t))
        rows = np.ascontiguousarray(product(np.ascontiguousarray(turned.T)).T[at + (cls.piece[0] if cls.piece else 0)])
        right = t.parts["SV"].astype(np.float32) * t.parts["Wscale"].astype(np.float32)
        if cls.piece:
            right = right[cls.piece[0] : cls.piece[1]] * t.parts["fuse_scales"][cls.piece[3]].astype(np.float32)
        rows *= t.parts["SU"].astype(np.float32)
        if "scaleWH" in t.parts:
            rows /= t.parts["scaleWH"]
        rows *= right[at, None]
        return rows

    @classmethod
    def points(cls, t: PackedTensor) -> Floats:
        """D, float32 `[all rows, in]`: what the codes say, not rotated yet."""
        packed, width = t.parts["Qidxs"], t.shape[1]
        found = e8p().take(unpack(packed[:, : width // 32]), axis=0).reshape(len(packed), width)
        if cls.bits == 3:
            second = np.ascontiguousarray(packed[:, width // 32 :]).view(np.uint8)
            found += (e8_short() / np.float32(cls.divisor)).take(second, axis=0).reshape(found.shape)
        elif cls.bits == 4:
            codes = unpack(packed[:, width // 32 :])
            found += (e8p() / np.float32(cls.divisor)).take(codes, axis=0).reshape(found.shape)
        return found

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        if cls.piece:  # a matrix of its own is packed alike
            return QuIP.of(int(cls.bits), cls.divisor).sample(shape, rng)
        layout = cls.layout(shape)
        info = np.iinfo(np.int64)
        signs = {name: rng.choice([-0.05, 0.05], layout[name].shape).astype(np.float16) for name in ("SU", "SV")}
        parts: dict[str, NDArray[Any]] = {
            **{"Qidxs": rng.integers(info.min, info.max, layout["Qidxs"].shape, endpoint=True), **signs},
            **{"Wscale": np.array(1, np.float32), "codebook_id": np.array(_BY_BITS[int(cls.bits)][0])},
        }
        return PackedTensor(cls, shape, parts)


def unpack(packed: NDArray[np.int64]) -> NDArray[np.uint16]:
    """E8P codes `[out, in / 8]` of int64 `[out, in / 32]`."""
    rows, columns = packed.shape
    tiles = np.ascontiguousarray(packed).reshape(rows // 16, columns // 2, 8, 4).transpose(0, 2, 1, 3)
    words = np.ascontiguousarray(tiles).view(np.uint32).reshape(rows // 2, columns * 2, 2)
    high = np.ascontiguousarray(words[..., 0]).view(np.uint8).reshape(rows // 2, columns * 2, 4)
    low = words[..., 1:] >> np.arange(4, dtype=np.uint32) & np.uint32(0x11111111)  # every fourth bit, to be closed up
    for shift, mask in ((3, 0x03030303), (6, 0x000F000F), (12, 0x000000FF)):
        low = (low | low >> np.uint32(shift)) & np.uint32(mask)
    codes = (high.astype(np.int64) << 8 | low).astype(np.uint16)
    return codes.reshape(rows // 2, columns * 2, 2, 2).transpose(0, 3, 1, 2).reshape(rows, columns * 4)


def _book_of(said: Mapping[str, Any], stored: Mapping[str, Part]) -> _Book:
    """The codebook that the array `codebook_id` names and the config must name, too.

    Raises:
        UnsupportedError: it is one of an older version, or another codebook, or parts localq does not know.
        CheckpointError: they contradict each other.
    """
    if "codebook_id" not in stored or stored["codebook_id"].shape != ():
        raise CheckpointError("A QuIP# tensor has a scalar 'codebook_id', which is not stored.")
    number = int(stored["codebook_id"].values())
    if number not in _BOOKS:
        known = ", ".join(f"{n} ({book.name})" for n, book in _BOOKS.items())
        raise UnsupportedError(f"QuIP#'s codebook_id is {number}; localq knows {known}.")
    book = _BOOKS[number]
    for key, want in (("codebook", book.name), ("codebook_version", book.version), ("lora_rank", 0), ("codesz", 8)):
        if said.get(key) != want:
            kind = CheckpointError if key == "codebook" else UnsupportedError
            raise kind(f"The config's quip_params say {key} {said.get(key)!r}; codebook_id {number} has {want!r}.")
    if said.get("model_version") != 1:
        raise UnsupportedError(f"QuIP#'s model_version is {said.get('model_version')!r}; localq knows 1.")
    return book
