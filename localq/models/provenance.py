"""Following packed weights through an architecture's own renaming, without decoding a single one.

mlx-lm's `sanitize` renames tensors, stacks experts, splits fused matrices and drops what a model does not use, one
way per architecture. It is shown not the weights but their *provenance*: for a tensor `[..., out, in]` an int32
array `[..., out, 2]` holding each row's global number n and its check ~n. Whatever comes back says which rows of
which tensors a parameter is made of. Renames, stacks, `::2` splits, reorderings and transpositions all show; an
edited value (scaled, shifted, cast, dequantised) breaks n + ~n = -1 and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localq.errors import UnsupportedError
from localq.formats.base import PackedTensor
from localq.kernels.residency import release_all

Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Traced:
    """Global row numbers `[..., out]` of a parameter.

    `swapped` if the architecture transposed the matrix, `half` 0 or 1 if it took the first or the second half of its
    columns (gate and up side by side in a matrix stored `[in, 2 out]`).
    """

    rows: Rows
    swapped: bool
    half: int | None = None


class Entry(NamedTuple):
    """One tensor entered: what its header says, and how to get at its arrays."""

    name: str
    width: int
    family: str
    fetch: Callable[[], PackedTensor]


class Ledger:
    """Hands out global row numbers, matrix by matrix, and reads them back.

    Tensors are fetched when their rows are asked for, not before: a model of 20,000 experts would otherwise keep as
    many views, four to a matrix, and with their scales have touched every page of its files before the first is placed.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._matrices: list[tuple[Entry, int | None]] = []  # tensor, index in its stack
        self._fetched: tuple[Entry, PackedTensor] | None = None  # matrices of one stack follow each other
        self._next = 0

    def enter(self, name: str, shape: tuple[int, ...], family: str, fetch: Callable[[], PackedTensor]) -> mx.array:
        """The provenance array of a tensor of at least two axes: int32 `[*shape[:-1], 2]`."""
        first, height = self._next, shape[-2]
        entry = Entry(name, shape[-1], family, fetch)
        for index in range(math.prod(shape[:-2])):
            self._starts.append(self._next)
            self._matrices.append((entry, index if len(shape) > 2 else None))
            self._next += height
        numbers = np.arange(first, self._next, dtype=np.int32).reshape(shape[:-1])
        return mx.array(np.stack([numbers, ~numbers], axis=-1))

    def trace(self, value: mx.array) -> Traced | None:
        """Which rows an array that came back is made of, or None if it is no untouched provenance."""
        if value.dtype != mx.int32 or value.ndim < 2:
            return None
        pairs = np.asarray(value)
        for axis, swapped in ((-1, False), (-2, True)):
            sides = np.moveaxis(pairs, axis, 0)
            if len(sides) == 2 and self._are_rows(sides[0]) and np.array_equal(sides[0], ~sides[1]):
                return Traced(sides[0].copy(), swapped)
            for half in (0, 1) if len(sides) == 1 else ():
                rows = ~sides[0] if half else sides[0]
                if self._are_rows(rows):
                    return Traced(rows.copy(), swapped, half)
        return None

    def _are_rows(self, rows: NDArray[np.int32]) -> bool:
        return bool(rows.size and rows.min() >= 0 and rows.max() < self._next)

    def pieces(self, rows: Rows) -> list[PackedTensor]:
        """The matrix made of these rows `[out]`, as consecutive pieces; whole matrices and slices stay views."""
        return [self._piece(run) for run in np.split(rows, np.flatnonzero(np.diff(self._places(rows))) + 1)]

    def matrix(self, rows: Rows, half: int | None = None) -> PackedTensor:
        """The same as one tensor, or the first or second half of its columns.

        Raises:
            UnsupportedError: its rows come from tensors whose packed rows cannot stand in one tensor, or its columns
                are packed across the middle.
        """
        pieces = self.pieces(rows)
        whole = pieces[0] if len(pieces) == 1 else _joined(pieces)
        return whole if half is None else _half(whole, half)

    @property
    def names(self) -> list[str]:
        """Names of all tensors entered."""
        return list(dict.fromkeys(entry.name for entry, _ in self._matrices))

    def sources(self, rows: Rows) -> list[str]:
        """Names of the tensors these rows come from."""
        return list(dict.fromkeys(entry.name for entry in self._entries(rows)))

    def widths(self, rows: Rows) -> set[int]:
        """in_features of the tensors these rows come from (more than one is a contradiction)."""
        return {entry.width for entry in self._entries(rows)}

    def families(self, rows: Rows) -> set[str]:
        """Families of formats ("float", "ggml", "mlx") these rows are stored in."""
        return {entry.family for entry in self._entries(rows)}

    def dequantize(self, rows: Rows, half: int | None = None) -> NDArray[np.float32]:
        """The weights of rows `[..., out]` as float32 `[..., out, in]`, or half of their columns."""
        parts = [piece.dequantize() for piece in self.pieces(rows.reshape(-1))]
        whole = np.concatenate(parts).reshape(*rows.shape, -1)
        return whole if half is None else np.split(whole, 2, axis=-1)[half]

    def _places(self, rows: Rows) -> NDArray[np.intp]:
        return np.searchsorted(self._starts, rows.reshape(-1), side="right") - 1

    def _entries(self, rows: Rows) -> list[Entry]:
        return [self._matrices[i][0] for i in np.unique(self._places(rows))]

    def _piece(self, rows: Rows) -> PackedTensor:
        place = int(self._places(rows[:1])[0])
        entry, index = self._matrices[place]
        t = self._fetch(entry)
        return _take(t if index is None else t.matrix(index), rows - self._starts[place])

    def _fetch(self, entry: Entry) -> PackedTensor:
        if self._fetched is None or self._fetched[0] is not entry:
            t = _flat_stack(entry.fetch())
            release_all(t)  # every scale was looked at
            self._fetched = entry, t
        return self._fetched[1]


def _take(t: PackedTensor, rows: Rows) -> PackedTensor:
    """Rows of a matrix: the tensor itself, a view where they are evenly spaced, else a copy of the packed rows."""
    if len(rows) == t.shape[0] and np.array_equal(rows, np.arange(t.shape[0])):
        return t
    step = int(rows[1] - rows[0]) if len(rows) > 1 else 1
    if step > 0 and bool(np.all(np.diff(rows) == step)):
        return t.rows(slice(int(rows[0]), int(rows[-1]) + 1, step))
    return t.rows(rows)


def _half(t: PackedTensor, half: int) -> PackedTensor:
    """The first or second half of a matrix's columns, views of its parts."""
    width = t.shape[-1] // 2
    shape = (*t.shape[:-1], width)
    if t.shape[-1] % 2 or width % t.format.block_size or t.format.family not in ("float", "ggml", "mlx"):
        raise UnsupportedError(
            f"The architecture halves the {t.shape[-1]} columns of a matrix; {t.format.name} packs across the cut."
        )
    want = t.format.layout(shape)
    parts = {}
    for name, part in t.parts.items():
        side = want[name].shape[-1] if part.ndim and part.shape != want[name].shape else None
        parts[name] = part if side is None else part[..., half * side : (half + 1) * side]
    return PackedTensor(t.format, shape, parts)


def _flat_stack(t: PackedTensor) -> PackedTensor:
    """`[a, b, ..., out, in]` as `[a*b*..., out, in]`; a matrix stays as it is."""
    lead = len(t.shape) - 2
    if lead < 2:
        return t
    count = math.prod(t.shape[:-2])
    parts = {name: p.reshape(count, *p.shape[lead:]) for name, p in t.parts.items()}  # every part once a matrix
    return PackedTensor(t.format, (count, *t.shape[-2:]), parts)


def _joined(pieces: Sequence[PackedTensor]) -> PackedTensor:
    """Pieces of one format as one matrix, their packed rows copied; per-matrix parts (a second scale) must agree."""
    formats = {p.format for p in pieces}
    joined = pieces[0].format.join_rows(pieces) if len(formats) == 1 else None
    if joined is None:
        names = ", ".join(sorted(f.name for f in formats))
        raise UnsupportedError(f"One expert is made of rows of {len(pieces)} tensors ({names}) that do not join.")
    return joined
