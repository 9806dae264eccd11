"""Weights written into MLX memory block by block of rows, so that loading one never holds a second copy of it.

`Format.to_native` makes arrays as large as the matrix, and up to eight bytes a weight on its way. Here it sees `BLOCK`
weights at a time, and what it gives goes straight to its place in the array that stays: that of one matrix, or of a
stack of experts, which is never a list of small arrays besides. On NVIDIA's GPUs, whose memory numpy cannot write to,
the place is made in numpy and copied once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localq.formats.base import EXACTNESS, Exactness, Native, PackedTensor
from localq.formats.integers import narrowest
from localq.kernels.residency import release_all

Array = NDArray[Any]
_NONE = np.empty(0, np.uint8)
BLOCK = 1 << 21  # weights repacked at a time: 16 MB of temporaries at most


class Place:
    """An array of MLX's of a shape, to be filled from numpy: `view` is what to write to, `array()` the result.

    `filled` is a whole array of that shape, to be copied at once.
    """

    _made: mx.array | None
    view: Array

    def __init__(self, shape: tuple[int, ...], dtype: mx.Dtype, filled: Array | None = None) -> None:
        self._dtype = dtype
        if filled is not None:
            self._made, self.view = mx.array(filled), filled
            return
        stored = mx.uint16 if dtype == mx.bfloat16 else dtype  # numpy has no bfloat16 of MLX's
        if mx.cuda.is_available():
            self._made = None
            self.view = np.empty(shape, np.asarray(mx.zeros(0, stored)).dtype)
            return
        self._made = mx.zeros(shape, stored)
        mx.eval(self._made)
        self.view = np.asarray(self._made)
        assert self.view.flags.writeable and self.view.flags.c_contiguous

    def array(self) -> mx.array:
        """The filled array; `view` must not be written to any more."""
        made = mx.array(self.view) if self._made is None else self._made
        return made if made.dtype == self._dtype else made.view(self._dtype)


@dataclass
class Filled:
    """What `Native` says of one matrix `[..., out, in]` or a stack `[n, out, in]`, its codes in MLX memory.

    `first` is the native form of the first block, for what all blocks have in common.
    """

    first: Native
    weight: mx.array
    scales: Array
    biases: Array | None
    multiplier: Array | None
    exactness: Exactness
    error: float


def fill(tensors: Sequence[PackedTensor], stack: bool) -> Filled | None:
    """Matrices of one shape in the mode of MLX's that holds them, their file pages given back as they are read.

    Without `stack` it is one tensor. None where no mode holds all of them, or not the same.
    """
    place: Place | None = None
    found: list[_Small] = []
    first: Native | None = None
    once = False
    for number, t in enumerate(tensors):
        small = _Small()
        for rows in row_blocks(t):
            native = t.format.to_native(t) if rows is None else t.format.native_rows(t, rows)
            if native is None or (first is not None and not _alike(native, first)):
                return None
            if stack and (native.input_order is not None or native.input_scale is not None):
                return None
            if place is None:
                first = replace(native, weight=_NONE, scales=_NONE, biases=None if native.biases is None else _NONE)
                lead = (len(tensors),) if stack else ()
                once = rows is None and not stack and native.weight.flags.c_contiguous
                shape = (*lead, *t.shape[:-1], native.weight.shape[-1])
                place = Place(shape, mx.uint32, native.weight if once else None)
            if not once:
                whole = place.view[number] if stack else place.view
                (whole if rows is None else whole[rows])[...] = native.weight
            small.add(native, t.shape[-2] if rows is None else rows.stop - rows.start)
        found.append(small)
        release_all(t)
    assert place is not None and first is not None, "no tensors"
    scales, biases = _floats([s.scales for s in found], [s.biases for s in found], stack)
    worst = max((s.exactness for s in found), key=EXACTNESS.index)
    multiplier = _multiplier([s.multiplier() for s in found], stack)
    return Filled(first, place.array(), scales, biases, multiplier, worst, max(s.error for s in found))


def fill_floats(
    tensors: Sequence[PackedTensor], dtype: mx.Dtype, stack: bool, cast: Callable[[Array], mx.array]
) -> mx.array:
    """Matrices of floats as one array of `dtype`; `cast` makes an array of MLX's of numpy's."""
    lead = (len(tensors),) if stack else ()
    place = Place((*lead, *tensors[0].shape), dtype)
    for number, t in enumerate(tensors):
        whole = place.view[number] if stack else place.view
        step = max(1, BLOCK // (t.size // t.shape[0]))
        for start in range(0, t.shape[0], step):
            values = cast(t.parts["weight"][start : start + step]).astype(dtype)
            whole[start : start + step] = np.asarray(values.view(mx.uint16) if dtype == mx.bfloat16 else values)
        release_all(t)
    return place.array()


def row_blocks(t: PackedTensor) -> list[slice | None]:
    """The rows to repack at a time; None for the whole matrix: it is small, cannot be cut, or needs no repacking."""
    if len(t.shape) != 2 or t.size <= BLOCK or t.format.mixed_rows:
        return [None]
    multiple, length = t.format.row_multiple, t.shape[0]
    step = max(1, BLOCK // (t.shape[1] * multiple)) * multiple
    if length <= step:
        return [None]
    few = t.format.native_rows(t, slice(0, multiple))
    if few is not None and any(np.may_share_memory(few.weight, part) for part in t.parts.values()):
        return [None]
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


@dataclass
class _Small:
    """The small arrays of one tensor's blocks."""

    scales: list[Array] = field(default_factory=list)
    biases: list[Array] = field(default_factory=list)
    multipliers: list[tuple[Array | None, int]] = field(default_factory=list)  # and of how many rows
    exactness: Exactness = "exact"
    error: float = 0.0

    def add(self, native: Native, rows: int) -> None:
        self.scales.append(np.array(native.scales))  # a view would have the file's pages read again
        if native.biases is not None:
            self.biases.append(np.array(native.biases))
        self.multipliers.append((native.multiplier, rows))
        self.exactness = max(self.exactness, native.exactness, key=EXACTNESS.index)
        self.error = max(self.error, native.error)

    def multiplier(self) -> Array | None:
        """Per matrix where all blocks have the same, else per row."""
        given = [np.asarray(1.0 if m is None else m, np.float32) for m, _ in self.multipliers]
        if all(m is None for m, _ in self.multipliers):
            return None
        if len(given) == 1 or all(m.ndim == 0 and m == given[0] for m in given):
            return given[0]
        return np.concatenate([np.broadcast_to(m, rows) for m, (_, rows) in zip(given, self.multipliers, strict=True)])


def _alike(one: Native, other: Native) -> bool:
    """Whether two blocks may stand in one array: mode, widths and what is done to activations are the same."""

    def kind(native: Native) -> tuple[Any, ...]:
        return native.mode, native.bits, native.group_size, native.biases is None

    turns = ((getattr(one, n), getattr(other, n)) for n in ("input_rotation", "output_rotation"))
    return kind(one) == kind(other) and all(a is b or np.array_equal(a, b) for a, b in turns)


def _floats(scales: list[list[Array]], biases: list[list[Array]], stack: bool) -> tuple[Array, Array | None]:
    """Scales and biases of every tensor's blocks as one array each, in one dtype that holds them."""
    kinds = {a.dtype for blocks in (*scales, *biases) for a in blocks}
    mixed = len({a.dtype for blocks in scales for a in blocks}) > 1 or len({a.dtype for bs in biases for a in bs}) > 1
    if mixed and np.dtype(np.uint8) not in kinds:
        wide = [_joined(a, stack, np.dtype(np.float32)) for a in (scales, biases) if a[0]]
        narrow = narrowest(*wide)
        return narrow[0], narrow[1] if len(narrow) > 1 else None
    return _joined(scales, stack, None), _joined(biases, stack, None) if biases[0] else None


def _joined(arrays: list[list[Array]], stack: bool, dtype: Any) -> Array:
    first = arrays[0][0]
    if not stack and len(arrays[0]) == 1:
        return first if dtype is None else first.astype(dtype)
    rows = sum(a.shape[-2] for a in arrays[0])
    out: Array = np.empty((len(arrays), *first.shape[:-2], rows, first.shape[-1]), dtype or first.dtype)
    for number, blocks in enumerate(arrays):
        start = 0
        for block in blocks:
            out[number, ..., start : start + block.shape[-2], :] = block
            start += block.shape[-2]
    return out if stack else out[0]


def _multiplier(each: list[Array | None], stack: bool) -> Array | None:
    """Multipliers of matrices as one of their stack; where some are per row, all become so."""
    if not stack:
        return each[0]
    given = [m for m in each if m is not None]
    if not given:
        return None
    shape = max((m.shape for m in given), key=len)
    return np.stack([np.broadcast_to(np.float32(1.0) if m is None else m, shape) for m in each])
