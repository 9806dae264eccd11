"""awq_gemv_fast_4bit_g<group>: AWQ's gemv_fast layout (llm-awq's second); weight = scale * (code - zero).

`qweight` int16 `[out / 4, in]`: 64 words hold 4 rows of 64 codes, row by row, four to a word, lowest nibble first.
Before that every 32 codes of a row were reordered as 4 x 4 x 2 -> axes 1, 0, 2, then every 8 as 0, 2, 4, 6, 1, 3, 5, 7.
`scales` `[8 z, out]`, `qzeros` floats of the same shape holding -scale * zero; z as in the gemv layout, padding zeros.
The integer zero point is what the stored product is nearest to.
Source: autoawq awq/modules/linear/gemv_fast.py (`pack_intweight`, `from_linear`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Array, Floats, NDArray
from localq.formats.awq_family import AWQFamily, Read, read_settings
from localq.formats.awq_gemv import check_padding, zero_words
from localq.formats.base import Format, Match, PackedTensor, Part, count


class AWQGemvFast(
    AWQFamily,
    name="awq_gemv_fast",
    checked="autoawq",
    kernel="integers",
    suffixes=("qweight", "qzeros", "scales"),
    block_size=64,
    row_multiple=4,
    zero_bits=16,
):
    products: ClassVar[str] = "qzeros"  # the array of -scale * zero

    @classmethod
    def find(cls, name: str) -> type[Format] | None:
        found = re.fullmatch(rf"{cls.stem}_4bit_(?:g(\d{{1,6}})|row)(_asym)?", name)
        return None if found is None else cls.of(4, int(found[1] or 0), found[2] is None)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return (cls.of(4, 128, False),)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) != 2 or shape[-1] % 64:
            raise CheckpointError(f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of 64.")
        out, width = shape
        scales = (8 * zero_words(width, cls.group(width)), out)
        return {
            "qweight": Part("int16", (-(-out // 4), width)),
            cls.products: Part("float16|bfloat16|float32", scales),
            "scales": Part("float16|bfloat16|float32", scales),
        }

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if not {"qweight", cls.products, "scales"} <= set(stored) or stored["qweight"].dtype != "int16":
            return None
        words, scales = stored["qweight"].shape, stored["scales"].shape
        if len(words) != 2 or len(scales) != 2:
            return None
        found = read_settings(quantization, "gemv_fast", words[-1], cls.known_bits)
        if found is None:
            return None
        return cls.of(found.bits, found.group, found.symmetric), (scales[-1], words[-1])

    @classmethod
    def scales(cls, t: PackedTensor) -> dict[str, Array]:
        return {"scales": t.parts["scales"][: -(-t.shape[-1] // cls.group(t.shape[-1]))]}

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """Rows that begin at a multiple of 4 in one run; others are interleaved anew."""
        run = range(t.shape[0])[index] if isinstance(index, slice) else range(0)
        if run and run.step == 1 and run.start % 4 == 0:
            packed = t.parts["qweight"][run.start // 4 : -(-run.stop // 4)]
        else:
            packed = _interleave(_rows(t)[index])
        floats = {n: t.parts[n][:, index] for n in (cls.products, "scales")}
        return PackedTensor(cls, (count(t.shape[0], index), t.shape[1]), {"qweight": packed, **floats})

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """Rows interleaved anew."""
        parts = {n: np.concatenate([t.parts[n] for t in tensors], axis=-1) for n in (cls.products, "scales")}
        parts["qweight"] = _interleave(np.concatenate([_rows(t) for t in tensors]))
        return PackedTensor(cls, (sum(t.shape[0] for t in tensors), tensors[0].shape[1]), parts)

    @classmethod
    def check_scales(cls, t: PackedTensor) -> None:
        super().check_scales(t)
        cls.points(t)
        groups = -(-t.shape[-1] // cls.group(t.shape[-1]))
        check_padding(cls, {name: t.parts[name][groups:] for name in ("scales", cls.products)})

    @classmethod
    def zeros(cls, t: PackedTensor) -> Array:
        return cls.points(t)[1]

    @classmethod
    def points(cls, t: PackedTensor) -> tuple[Floats, Floats]:
        """Scales and zero points `[out, groups]`.

        Raises:
            CheckpointError: the products are of other scales.
        """
        groups = -(-t.shape[-1] // cls.group(t.shape[-1]))
        scales, products = (np.ascontiguousarray(t.parts[n][:groups].T, np.float32) for n in ("scales", cls.products))
        with np.errstate(all="ignore"):
            zeros = np.rint(-products / scales)
            far = ~(np.abs(-products / scales - zeros) < 0.25) | (zeros < 0) | (zeros > 15)
        if far.any():
            row, at = np.argwhere(far)[0]
            raise CheckpointError(
                f"{cls.products} of a {cls.name} tensor are -scale * zero point; row {row}, group {at} gives the point "
                f"{float(-products[row, at] / scales[row, at]):g}, and a whole number from 0 to 15 was expected."
            )
        return scales, zeros

    @classmethod
    def read(cls, t: PackedTensor) -> Read:
        scales, zeros = cls.points(t)
        stored = _rows(t).reshape(t.shape[0], -1, 4, 2, 4)  # 8 at a time: evens, odds
        pairs = stored.swapaxes(-1, -2).reshape(t.shape[0], -1, 4, 4, 2)
        return np.ascontiguousarray(pairs.transpose(0, 1, 3, 2, 4)).reshape(t.shape), scales, zeros

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        scales = (rng.uniform(0.5, 1.5, layout["scales"].shape) / 16).astype(np.float16)
        scales[-(-shape[-1] // cls.group(shape[-1])) :] = 0
        zeros = (-scales.astype(np.float32) * rng.integers(0, 16, scales.shape)).astype(np.float16)
        codes = rng.integers(-(1 << 15), 1 << 15, layout["qweight"].shape, np.int64).astype(np.int16)
        return PackedTensor(cls, shape, {"qweight": codes, cls.products: zeros, "scales": scales})


def _rows(t: PackedTensor) -> NDArray[np.uint8]:
    """Codes of each row in the stored order of inputs: uint8 `[out, in]`."""
    words = np.ascontiguousarray(t.parts["qweight"]).view(np.uint16)
    # [out / 4, in / 64, 64 int16 of 4 nibbles] hold [4 rows, 64 inputs] in this order
    nibbles = np.stack([(words >> np.uint16(4 * i) & np.uint16(15)).astype(np.uint8) for i in range(4)], axis=-1)
    blocks = nibbles.reshape(len(words), -1, 4, 64).swapaxes(1, 2)
    return blocks.reshape(4 * len(words), -1)[: t.shape[0]]


def _interleave(rows: NDArray[np.uint8]) -> NDArray[np.int16]:
    """The inverse of `_rows`; missing rows of the last four are zeros."""
    padded = np.concatenate([rows, np.zeros((-len(rows) % 4, rows.shape[1]), np.uint8)])
    nibbles = padded.reshape(-1, 4, rows.shape[1] // 64, 64).swapaxes(1, 2).reshape(len(padded) // 4, -1, 4)
    words = sum(nibbles[..., i].astype(np.uint16) << np.uint16(4 * i) for i in range(4))
    return np.asarray(words, np.uint16).view(np.int16)
