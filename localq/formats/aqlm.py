"""aqlm_<books>x<bits>_g<out>x<in>: additive codebooks; a block of weights = scale * sum of one vector of every book.

`codes` int8 or int16 `[out / og, in / ig, books]`, indices modulo 2**bits; `codebooks` `[books, 2**bits, og, ig]`;
`scales` `[out / og, 1, 1, 1]`, both 16-bit floats. Nothing else is needed: the arrays say all.
Source: aqlm/inference.py, aqlm/utils.py (`_dequantize_weight`, `pack_int_data`), 1.1.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import NDArray
from localq.formats.base import Format, Match, PackedTensor, Part
from localq.formats.reselect import RowDecoder

_FLOATS = "float16|bfloat16|float32"
_NAME = re.compile(r"aqlm_([1-9])x(1[0-6]|[1-9])_g([1-9]\d?)x([1-9]\d?)")


class AQLM(
    RowDecoder,
    name="aqlm",
    checked="aqlm",
    kernel="aqlm",
    family="aqlm",
    bits=2,
    group_size=8,
    bits_per_weight=2,
    scale="fp16 per row of blocks",
    containers=("safetensors",),
    mains=("codes",),
    suffixes=("codes", "codebooks", "scales"),
    scale_parts=("scales", "codebooks"),
    zero_scales=True,
):
    books: ClassVar[int] = 1
    index_bits: ClassVar[int] = 16
    block: ClassVar[tuple[int, int]] = (1, 8)

    @classmethod
    def of(cls, books: int, index_bits: int, og: int, ig: int) -> type[AQLM]:
        """The variant of so many books, bits of an index, and rows and columns of a block."""
        table = books * (1 << index_bits) * og * ig * 16  # for a 4096 x 4096 matrix
        stored = books * (8 if index_bits <= 8 else 16) / (og * ig)
        return AQLM.variant(
            f"aqlm_{books}x{index_bits}_g{og}x{ig}",
            books=books,
            index_bits=index_bits,
            block=(og, ig),
            bits=books * index_bits / (og * ig),
            group_size=og * ig,
            block_size=ig,
            row_multiple=og,
            bits_per_weight=stored + table / (1 << 24),
        )

    @classmethod
    def find(cls, name: str) -> type[AQLM] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(*(int(n) for n in found.groups()))

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(2, 8, 1, 8), cls.of(1, 9, 1, 8)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        og, ig = cls.block
        if not shape or shape[-1] % ig:
            raise CheckpointError(f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of {ig}.")
        if len(shape) != 2 or shape[0] % og:
            raise CheckpointError(f"A matrix of shape {shape} has no multiple of {og} rows, as {cls.name} needs.")
        blocks = (shape[0] // og, shape[1] // ig, cls.books)
        return {
            "codes": Part("int8" if cls.index_bits <= 8 else "int16", blocks),
            "codebooks": Part(_FLOATS, (cls.books, 1 << cls.index_bits, og, ig)),
            "scales": Part(_FLOATS, (blocks[0], 1, 1, 1)),
        }

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """By the shapes; the config's numbers, where it has them, must be these."""
        if not {"codes", "codebooks"} <= set(stored):
            return None
        codes, table = stored["codes"].shape, stored["codebooks"].shape
        if len(codes) != 3 or len(table) != 4 or not all(table) or table[1] & (table[1] - 1) or table[1] > 1 << 16:
            raise CheckpointError(
                f"codes are {codes} and codebooks {table}; expected [out / og, in / ig, books] and "
                f"[books, 2 to 65536 vectors, og, ig]."
            )
        books, vectors, og, ig = table
        found = {"num_codebooks": books, "nbits_per_codebook": vectors.bit_length() - 1}
        found |= {"out_group_size": og, "in_group_size": ig}
        for key, value in found.items():
            said = (quantization or {}).get(key)
            if said is not None and said != value:
                raise CheckpointError(f"The config says {key} {said!r}; codebooks of shape {table} say {value}.")
        return cls.of(books, vectors.bit_length() - 1, og, ig), (codes[0] * og, codes[1] * ig)

    @classmethod
    def check_scales(cls, t: PackedTensor) -> None:
        super().check_scales(t)
        codes, top = t.parts["codes"], 1 << (cls.index_bits - 1)
        if cls.index_bits not in (8, 16) and codes.size and (codes.min() < -top or codes.max() >= top):
            raise CheckpointError(
                f"codes of a {cls.name} tensor of shape {t.shape} go from {codes.min()} to {codes.max()}; expected "
                f"{-top} to {top - 1}, indices of {cls.index_bits} bits."
            )

    @classmethod
    def decode_rows(cls, t: PackedTensor, at: NDArray[np.int64]) -> NDArray[np.float32]:
        og, ig = cls.block
        rows, place = np.unique(at // og, return_inverse=True)
        codes = t.parts["codes"][rows].astype(np.int64) & ((1 << cls.index_bits) - 1)
        total = np.zeros((*codes.shape[:2], og, ig), np.float32)
        for i in range(cls.books):
            total += t.parts["codebooks"][i].astype(np.float32)[codes[..., i]]
        total *= t.parts["scales"][rows].astype(np.float32)
        out: NDArray[np.float32] = total.transpose(0, 2, 1, 3).reshape(len(rows), og, t.shape[1])[place, at % og]
        return out

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout, top = cls.layout(shape), 1 << (cls.index_bits - 1)
        codes = rng.integers(-top, top, layout["codes"].shape).astype(layout["codes"].dtype)
        books = rng.standard_normal(layout["codebooks"].shape).astype(np.float16)
        scales = rng.uniform(0.5, 1.5, layout["scales"].shape).astype(np.float16)
        return PackedTensor(cls, shape, {"codes": codes, "codebooks": books, "scales": scales})
