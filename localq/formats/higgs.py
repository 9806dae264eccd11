"""higgs_<bits>bit_g<group>_h<hadamard>[_p64]: HIGGS; pairs of weights are points of a grid, rows rotated in blocks.

    w[n] = H @ (scales[n, group] * point[n]) / sqrt(hadamard)         H: Hadamard's matrix (Sylvester's) of a block

A point is two weights (inputs 2 a and 2 a + 1): `tables2[i, j]`, 16-bit floats `[2**bits, 2**bits, 2]`, i the code of
the first, j of the second (grids of single weights are stored so, too, as all pairs; `tables` adds nothing). `scales`
`[out, in / group]`. Where scales are bfloat16 and tables2 float16, tables2's bits are bfloat16, for its writer views
them so. `weight` int16 `[out * bits / 16, in]` is in FLUTE's order, P = 32 or 64 (the config's template says which):

    4 bits  chunks of 4 P rows are P rows of int16; byte e of int16 (p, 2 a + h) is the point of row (2 h + e) P + p
    2 bits  of 8 P rows, P; its 4 bits f are the point of row (4 h + f) P + p
    3 bits  of 512 rows, 32, and after all these, 2 x 32 a chunk. An int16 of h = 0 and the low 14 bits of that of h = 1
            are 30 bits, 5 points; the high 2 bits of the three of h = 1 are the sixteenth. Point i of a p is that of
            row 32 n + p, n = 0 3 6 9 12 1 4 7 10 13 2 5 8 11 14 15

with the code i in the high bits of a point's. Sources: transformers integrations/higgs.py; flute-kernel 0.4.2,
utils.py (`pack`), integrations/higgs.py, data/qgemm_kernel_raw_generated_configs.pth (TileP).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, Floats, NDArray
from localq.formats.base import Format, Match, PackedTensor, Part
from localq.formats.hadamard_orders import sylvester
from localq.formats.reselect import RowDecoder

_FLOATS = "float16|bfloat16"
_NAME = re.compile(r"higgs_([234])bit_g(64|128|256)_h(\d+)(_p64)?")
_ORDER_3 = [0, 3, 6, 9, 12, 1, 4, 7, 10, 13, 2, 5, 8, 11, 14, 15]  # run of 32 rows that each point is for


class HIGGS(
    RowDecoder,
    name="higgs",
    checked="flute, transformers",
    kernel="higgs",
    family="higgs",
    bits=4,
    group_size=256,
    bits_per_weight=4 + 16 / 256,
    scale="fp16 per 256",
    containers=("safetensors",),
    mains=("weight",),
    suffixes=("weight", "scales", "tables", "tables2"),
    scale_parts=("scales", "tables2"),
    zero_scales=True,
):
    hadamard: ClassVar[int] = 512
    tile: ClassVar[int] = 32

    @classmethod
    def of(cls, bits: int, group: int = 256, hadamard: int = 512, tile: int = 32) -> type[HIGGS]:
        """The variant of this width, weights of a scale, length of a rotation, and P."""
        return HIGGS.variant(
            f"higgs_{bits}bit_g{group}_h{hadamard}{'_p64' if tile == 64 else ''}",
            bits=bits,
            group_size=group,
            block_size=hadamard,
            hadamard=hadamard,
            tile=tile,
            row_multiple=_chunk(bits, tile),
            bits_per_weight=bits + 16 / group,
            scale=f"fp16 per {group}",
        )

    @classmethod
    def find(cls, name: str) -> type[HIGGS] | None:
        found = _NAME.fullmatch(name)
        if found is None or not _fits(*(int(n) for n in found.groups()[:3])) or (found[1] == "3" and found[4]):
            return None
        return cls.of(int(found[1]), int(found[2]), int(found[3]), 64 if found[4] else 32)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(4), cls.of(4, 64, 128)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if not shape or shape[-1] % cls.hadamard:
            raise CheckpointError(
                f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of {cls.hadamard}."
            )
        if len(shape) != 2 or shape[0] % cls.row_multiple:
            raise CheckpointError(
                f"A matrix of shape {shape} has no multiple of {cls.row_multiple} rows, as {cls.name}."
            )
        codes = 1 << int(cls.bits)
        return {
            "weight": Part("int16", (shape[0] * int(cls.bits) // 16, shape[1])),
            "scales": Part(_FLOATS, (shape[0], shape[1] // cls.group_size)),
            "tables": Part(_FLOATS, (codes,)),
            "tables2": Part(_FLOATS, (codes, codes, 2)),
        }

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if "weight" not in stored or stored["weight"].dtype != "int16" or "tables2" not in stored:
            return None
        said = quantization or {}
        if said.get("quant_method") != "higgs":
            raise CheckpointError(f"tables2 are HIGGS'; the config's quant_method is {said.get('quant_method')!r}.")
        settings: list[Any] = [said.get(key) for key in ("bits", "group_size", "hadamard_size")]
        bits, group, hadamard = settings
        if not _fits(bits, group, hadamard):
            raise CheckpointError(
                f"The config says bits {bits!r}, group_size {group!r}, hadamard_size {hadamard!r}; expected 2, 3 or 4, "
                f"64, 128 or 256, and a power of two that is its multiple."
            )
        shape = stored["weight"].shape
        if len(shape) != 2 or 0 in shape or shape[0] * 16 % bits:
            raise CheckpointError(f"weight is int16 {shape}; expected [out * {bits} / 16, in].")
        rows = shape[0] * 16 // bits
        return cls.of(bits, group, hadamard, _tile(said, (rows, shape[1]))), (rows, shape[1])

    @classmethod
    def scales(cls, t: PackedTensor) -> dict[str, Array]:
        return {"scales": t.parts["scales"], "tables2": _grid(t)}

    @classmethod
    def decode_rows(cls, t: PackedTensor, at: NDArray[np.int64]) -> Floats:
        rows = cls.points(t, at)
        blocks = rows.reshape(len(at), -1, cls.hadamard)
        turned = sylvester(blocks).reshape(rows.shape)
        turned *= np.float32(1 / np.sqrt(cls.hadamard))
        return turned

    @classmethod
    def points(cls, t: PackedTensor, at: NDArray[np.int64]) -> Floats:
        """Rows `at` before the rotation: grid times scale, exact in float32."""
        chunks, place = np.unique(at // cls.row_multiple, return_inverse=True)
        pairs = cls.codes(t, chunks)[place, at % cls.row_multiple]
        grid = _grid(t).astype(np.float32).reshape(-1, 2)
        found = grid.take(pairs, axis=0).reshape(len(at), -1, cls.group_size)
        found *= t.parts["scales"][at].astype(np.float32)[..., None]
        return found.reshape(len(at), -1)

    @classmethod
    def codes(cls, t: PackedTensor, chunks: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The points of whole chunks of rows, uint8 `[chunks, rows of a chunk, in / 2]`."""
        bits, width, tile = int(cls.bits), t.shape[1], cls.tile
        words = t.parts["weight"].view(np.uint16)
        if bits == 3:
            return _codes_3(words, t.shape[0] // cls.row_multiple, chunks)
        halves = words.reshape(-1, tile, width // 2, 2)[chunks]  # [chunk, p, a, h]
        fields = halves[..., None] >> np.arange(0, 16, 2 * bits, dtype=np.uint16) & np.uint16((1 << 2 * bits) - 1)
        return fields.astype(np.uint8).transpose(0, 3, 4, 1, 2).reshape(len(chunks), -1, width // 2)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        parts = {
            "weight": rng.integers(-(1 << 15), 1 << 15, layout["weight"].shape, np.int16),
            "scales": rng.uniform(0.5, 1.5, layout["scales"].shape).astype(np.float16),
            "tables": np.arange(layout["tables"].shape[0]).astype(np.float16),
            "tables2": rng.standard_normal(layout["tables2"].shape).astype(np.float16),
        }
        return PackedTensor(cls, shape, parts)


def _codes_3(words: NDArray[np.uint16], count: int, chunks: NDArray[np.int64]) -> NDArray[np.uint8]:
    """As `HIGGS.codes`, of `count` chunks of 512 rows: int16 of plane 0, then of planes 1 and 2 chunk by chunk."""
    width = words.shape[1]
    first = words[: 32 * count].reshape(count, 1, 32, width // 2, 2)[chunks]
    rest = words[32 * count :].reshape(count, 2, 32, width // 2, 2)[chunks]
    planes = np.concatenate([first, rest], axis=1).astype(np.uint32)  # [chunk, plane, p, a, h]
    low, high = planes[..., 0], planes[..., 1]
    runs = (low | (high & 0x3FFF) << 16)[:, :, None] >> np.arange(0, 30, 6, dtype=np.uint32)[:, None, None] & 63
    last = sum((high[:, plane] >> 14) << 2 * plane for plane in range(3))
    points = np.concatenate([runs.reshape(len(chunks), 15, 32, -1), np.asarray(last)[:, None]], axis=1)
    out = np.empty(points.shape, np.uint8)
    out[:, _ORDER_3] = points
    return out.reshape(len(chunks), 512, width // 2)


def _chunk(bits: int, tile: int) -> int:
    """Rows that share the columns of int16."""
    return {2: 8 * tile, 3: 512, 4: 4 * tile}[bits]


def _fits(bits: Any, group: Any, hadamard: Any) -> bool:
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in (bits, group, hadamard)):
        return False
    return bits in (2, 3, 4) and group in (64, 128, 256) and hadamard & (hadamard - 1) == 0 and hadamard >= group


def _tile(said: Mapping[str, Any], shape: tuple[int, int]) -> int:
    """P of the template that the module's `tune_metadata` names.

    Raises:
        CheckpointError: it says nothing, or something else than the arrays.
        UnsupportedError: a template of no published version.
    """
    tuned = said.get("tuned")
    if not isinstance(tuned, Mapping):
        raise CheckpointError("The config's tune_metadata has no entry for this module, which says how it is packed.")
    for key, want in (("num_bits", said["bits"]), ("group_size", said["group_size"]), ("N", shape[0]), ("K", shape[1])):
        if tuned.get(key) != want:
            raise CheckpointError(f"The config's tune_metadata says {key} {tuned.get(key)!r}; expected {want}.")
    template, bits = tuned.get("template_id"), said["bits"]
    count, every, wide = (144, 48, 16) if bits == 4 else (36, 12, 4)
    if not isinstance(template, int) or not 0 <= template < count:
        raise UnsupportedError(f"FLUTE's template_id is {template!r}; localq knows 0 to {count - 1} for {bits} bits.")
    tile = 64 if template % every < wide else 32
    if bits == 3 and tile == 64:
        raise UnsupportedError(f"FLUTE's template_id is {template}; it packs 3 bits in tiles of 32 alone.")
    return tile


def _grid(t: PackedTensor) -> Array:
    table = t.parts["tables2"]
    viewed = t.parts["scales"].dtype == ml_dtypes.bfloat16 and table.dtype == np.float16
    return table.view(ml_dtypes.bfloat16) if viewed else table
