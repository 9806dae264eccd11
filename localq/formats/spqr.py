"""spqr: 3-bit codes with 3-bit scales and zeros in tiles of 16 x 16, and single outliers added on top.

`dense_weights` int64 `[ceil(out / 16) * ceil(in / 16) * 16]`: tiles row by row, and in a tile a word for each of its 16
rows: bits 0-2 scale s, 3-5 zero z, then 16 codes of 3 bits, then byte k / 2 (row k) of the tile's second order, four
float16 (a, b, c, d); every byte is there twice. In half precision, each step rounded:

    scale = a * (s - c)        zero = b * (z - d)        weight = scale * (code - zero)

`col_vals` int32 has the outliers, the column in the low and a float16 in the high half; `row_offsets` int32 says where
each row's begin (`[out + 1]`), or where each tile row's do (`[out / 16 + 1]`; outlier j is then in its row j % 16).
They are added in float32, the sum is rounded to float16. `in_perm` int32 `[in / 2]`, two uint16 each: stored column i
multiplies input in_perm[i]. Source (Apache 2.0): spqr_quant 0.2.0, inference.py, inference_kernels/spqr_cuda.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, Floats, NDArray
from localq.formats.base import Match, PackedTensor, Part
from localq.formats.reselect import RowDecoder

_TILE = 16
_NAMES = ("dense_weights", "row_offsets", "col_vals", "in_perm")


class SpQR(
    RowDecoder,
    name="spqr",
    checked="spqr_quant",
    family="spqr",
    bits=3,
    group_size=16,
    block_size=2,
    bits_per_weight=4.4,
    symmetric=False,
    scale="3-bit per 16 x fp16 per 256",
    containers=("safetensors",),
    mains=("dense_weights",),
    suffixes=_NAMES,
    scale_parts=("dense_weights", "col_vals"),
    zero_scales=True,
    kernel="spqr",
    row_multiple=_TILE,
):
    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) != 2 or shape[1] % 2 or shape[1] > 1 << 15:
            raise CheckpointError(
                f"A row of {shape[-1:]} weights ({shape}) is none of spqr's: 2, 4, ... 32768 expected."
            )
        tiles = -(-shape[0] // _TILE) * -(-shape[1] // _TILE)
        return {
            "dense_weights": Part("int64", (tiles * _TILE,)),
            "row_offsets": Part("int32", (shape[0] + 1,)),
            "col_vals": Part("int32", (0,)),
            "in_perm": Part("int32", (shape[1] // 2,)),
        }

    @classmethod
    def check_parts(cls, shape: tuple[int, ...], parts: Mapping[str, Part]) -> None:
        """As the base, but of outliers there are as many as there are, counted by row or by tile row."""
        want, found = cls.layout(shape), dict(parts)
        for name, free in (("col_vals", None), ("row_offsets", shape[0] // _TILE + 1)):
            part = parts.get(name)
            if part is not None and len(part.shape) == 1 and free in (None, part.shape[0]):
                found[name] = Part(part.dtype, want[name].shape)
        super().check_parts(shape, found)

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if "dense_weights" not in stored:
            return None
        said = quantization or {}
        for key, want in (("bits", 3), ("beta1", _TILE), ("beta2", _TILE)):
            if said.get(key) != want:
                raise UnsupportedError(f"The config's {key} is {said.get(key)!r}; SpQR is written with {want} alone.")
        lengths = {name: stored[name].shape for name in _NAMES if name in stored}
        if len(lengths) < len(_NAMES) or any(len(s) != 1 for s in lengths.values()) or not lengths["in_perm"][0]:
            raise CheckpointError(
                f"SpQR's four lists {', '.join(_NAMES)} were expected, in_perm not empty; not {lengths}."
            )
        width = 2 * lengths["in_perm"][0]
        tile_rows = lengths["dense_weights"][0] // (-(-width // _TILE) * _TILE)
        ends = lengths["row_offsets"][0] - 1
        rows = {ends if -(-ends // _TILE) == tile_rows else 0, ends * _TILE if ends == tile_rows else 0} - {0}
        if len(rows) != 1:
            raise CheckpointError(
                f"row_offsets has {ends + 1} entries for {tile_rows} rows of tiles of {width} inputs: "
                f"{tile_rows + 1} were expected, or one more than there are rows."
            )
        return cls, (rows.pop(), width)

    @classmethod
    def scales(cls, t: PackedTensor) -> dict[str, Array]:
        return {"dense_weights": second_order(tiles_of(t)), "col_vals": _outliers(t.parts["col_vals"])[1]}

    @classmethod
    def check_scales(cls, t: PackedTensor) -> None:
        super().check_scales(t)
        order, ends, width = order_of(t), t.parts["row_offsets"], t.shape[1]
        total = len(t.parts["col_vals"])
        if not np.array_equal(np.sort(order), np.arange(width)):
            raise CheckpointError(f"in_perm of an spqr tensor of shape {t.shape} is no order of its {width} inputs.")
        if ends[0] != 0 or ends[-1] != total or (np.diff(ends.astype(np.int64)) < 0).any():
            raise CheckpointError(
                f"row_offsets of an spqr tensor of shape {t.shape} go from {ends[0]} to {ends[-1]}; an ascent from 0 "
                f"to its {total} outliers was expected."
            )
        if len(ends) != t.shape[0] + 1 and (ends % _TILE).any():
            raise CheckpointError(
                f"row_offsets of tile rows of an spqr tensor of shape {t.shape} are no multiples of 16."
            )
        columns = _outliers(t.parts["col_vals"])[0]
        if total and columns.max() >= width:
            raise CheckpointError(f"An outlier of an spqr tensor of shape {t.shape} is in column {columns.max()}.")
        if (tiles_of(t) >> np.uint64(62)).any():
            raise CheckpointError(f"Bits 62 and 63 of dense_weights of an spqr tensor of shape {t.shape} are not zero.")

    @classmethod
    def decode_rows(cls, t: PackedTensor, at: NDArray[np.int64]) -> Floats:
        chosen, place = np.unique(at // _TILE, return_inverse=True)
        words = tiles_of(t)[chosen]  # [tile rows, tile columns, 16]
        fields = (words[..., None] >> np.arange(0, 54, 3, dtype=np.uint64) & np.uint64(7)).astype(np.float32)
        a, b, c, d = (x[..., None] for x in np.moveaxis(second_order(words).astype(np.float32), -1, 0))
        with np.errstate(all="ignore"):  # overflow is infinite in the original, too
            scale = _half(a * _half(fields[..., 0] - c))[..., None]
            zero = _half(b * _half(fields[..., 1] - d))[..., None]
            dense = _half(scale * _half(fields[..., 2:] - zero)).transpose(0, 2, 1, 3)
        rows = dense.reshape(len(chosen), _TILE, -1)[..., : t.shape[1]][place, at % _TILE]
        cls._add_outliers(t, at, rows)
        out = np.empty_like(rows)
        out[:, order_of(t)] = _half(rows)
        return out

    @classmethod
    def _add_outliers(cls, t: PackedTensor, at: NDArray[np.int64], rows: Floats) -> None:
        columns, values = _outliers(t.parts["col_vals"])
        ends = t.parts["row_offsets"].astype(np.int64)
        by_row = len(ends) == t.shape[0] + 1
        for i, row in enumerate(at):
            run = slice(ends[row], ends[row + 1]) if by_row else _run(ends, int(row))
            np.add.at(rows[i], columns[run], values[run].astype(np.float32))

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        words = rng.integers(0, 1 << 54, layout["dense_weights"].shape).reshape(-1, _TILE)
        bounds = ((0.005, 0.01), (0.5, 1.0), (-2.0, 2.0), (-2.0, 2.0))
        second = np.stack([rng.uniform(low, high, len(words)) for low, high in bounds], axis=-1)
        words |= np.repeat(second.astype(np.float16).view(np.uint8).astype(np.int64), 2, axis=-1) << 54
        each = shape[1] // 100
        columns = np.concatenate([rng.choice(shape[1], each, replace=False) for _ in range(shape[0])])
        values = rng.standard_normal(len(columns)).astype(np.float16).view(np.uint16)
        order = rng.permutation(shape[1]).astype(np.uint16)
        parts = {
            "dense_weights": words.reshape(-1),
            "row_offsets": np.arange(shape[0] + 1, dtype=np.int32) * np.int32(each),
            "col_vals": (values.astype(np.uint32) << 16 | columns.astype(np.uint32)).view(np.int32),
            "in_perm": order.view(np.int32),
        }
        return PackedTensor(cls, shape, parts)


def _half(x: Floats) -> Floats:
    """Rounded to float16, as every step of the original is."""
    return x.astype(np.float16).astype(np.float32)


def tiles_of(t: PackedTensor) -> NDArray[np.uint64]:
    """The stored words `[tile rows, tile columns, 16]`."""
    return t.parts["dense_weights"].view(np.uint64).reshape(-1, -(-t.shape[1] // _TILE), _TILE)


def second_order(words: NDArray[np.uint64]) -> NDArray[np.float16]:
    """a, b, c and d of every tile `[..., 4]`."""
    part = (words >> np.uint64(54)).astype(np.uint8)
    found: NDArray[np.float16] = np.ascontiguousarray(part[..., 0::2] | part[..., 1::2]).view(np.float16)
    return found


def order_of(t: PackedTensor) -> NDArray[np.uint16]:
    """The input that every stored column multiplies."""
    return np.ascontiguousarray(t.parts["in_perm"]).view(np.uint16)


def _outliers(stored: Array) -> tuple[NDArray[np.uint16], NDArray[np.float16]]:
    """Columns and values."""
    pairs = np.ascontiguousarray(stored).view(np.uint16).reshape(-1, 2)
    return pairs[:, 0], np.ascontiguousarray(pairs[:, 1]).view(np.float16)


def _run(ends: NDArray[np.int64], row: int) -> slice:
    """The outliers of a row among those of its tile row."""
    return slice(int(ends[row // _TILE]) + row % _TILE, int(ends[row // _TILE + 1]), _TILE)


def outliers_of(t: PackedTensor) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.float16]]:
    """Row, stored column and value of every outlier."""
    columns, values = _outliers(t.parts["col_vals"])
    ends = t.parts["row_offsets"].astype(np.int64)
    counts, number = np.diff(ends), np.arange(len(columns))
    lines = np.repeat(np.arange(len(counts)), counts)
    if len(ends) == t.shape[0] + 1:
        return lines, columns, values
    return lines * _TILE + (number - ends[lines]) % _TILE, columns, values
