"""Rows of formats that pack rows together: decoded where they cannot be cut. No format of its own.

A block of rows for one product, or a few embedding rows, live as long as one step; only a matrix that is split for
good while a model loads would grow by this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from localq.formats.arrays import Array, Floats, NDArray
from localq.formats.base import Format, PackedTensor
from localq.formats.f32 import F32


def floats(weights: Floats) -> PackedTensor:
    """Decoded weights `[..., out, in]` as a tensor."""
    return PackedTensor(F32, weights.shape, {"weight": weights})


def run_of(index: slice | Array, length: int) -> slice | None:
    """A slice of step 1 with both ends given, None where `index` is another kind of choice."""
    if not isinstance(index, slice):
        return None
    start, stop, step = index.indices(length)
    return slice(start, max(start, stop)) if step == 1 else None


def numbers(index: slice | Array, length: int) -> NDArray[np.int64]:
    """The chosen rows one by one."""
    return np.arange(length)[index] if isinstance(index, slice) else np.asarray(index, np.int64)


class RowDecoder(Format):
    """A format whose rows, one by one or many, are decoded by `decode_rows`; that is all it knows of rows."""

    @classmethod
    def decode_rows(cls, t: PackedTensor, at: NDArray[np.int64]) -> Floats:
        """Rows `at` as float32 `[len(at), in]`."""
        raise TypeError(f"{cls.__name__} defines no decode_rows")

    @classmethod
    def dequantize(cls, t: PackedTensor) -> Floats:
        return cls.decode_rows(t, np.arange(t.shape[0]))

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """The rows decoded: they lie among others."""
        return floats(cls.decode_rows(t, numbers(index, t.shape[0])))

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """Not at all: every matrix has tables of its own."""
        return None
