"""localq's own kernels (`localq_metal`) for formats that no mode of MLX's holds at the same size, on Apple GPUs.

A few tokens are multiplied where the weights lie packed. For more the matrix is decoded to the activations' dtype and
MLX multiplies it: packed rows are read once a token, decoding writes and reads them once in two bytes or four, which
bytes alone make even at about `FEW` tokens (not measured on a device yet). Decoded values are those of the format,
rounded once; sums are float32 in the packed product, MLX's own in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import mlx.core as mx
import numpy as np

from localq.formats.base import Exactness, Format, PackedTensor
from localq.kernels import arrays
from localq.kernels.inputs import Inputs
from localq.kernels.residency import release
from localq.kernels.rotations import Turn
from localq_metal import source
from localq_metal.dequantize import dequantize, rows
from localq_metal.gather import gather as gather_packed
from localq_metal.qmv import qmv

NAME = "own"
FEW = 8
OPS = ("matmul", "transposed", "embedding", "gather", "multi")


@dataclass(frozen=True, eq=False)
class OwnWeight:
    """A packed matrix `[out, in]`, or a stack of them `[n, out, in]`, in MLX memory as its decode struct reads it.

    `rotated` and `turned` are what happens to activations before the product with it and after, see `Inputs`.
    """

    packed: source.Packed
    exactness: Exactness = "exact"
    error: float = 0.0
    rotated: Turn | None = None
    turned: Turn | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weights."""
        *lead, rows, columns = self.packed.shape
        part = None if self.turned is None else self.turned.part
        return (*lead, rows if part is None else part[1] - part[0], columns)

    @property
    def way(self) -> str:
        """In words, for the load report."""
        turns = [turn for turn in (self.rotated, self.turned) if turn is not None]
        return f"packed {self.packed.stem}" + (" of rotated inputs" if any(turn.block for turn in turns) else "")

    def dense(self, dtype: mx.Dtype) -> mx.array:
        """The weights in float32, float16 or bfloat16."""
        if self.rotated is None and self.turned is None:
            return dequantize(factory(), self.packed, dtype)
        return self._outside(dequantize(factory(), self.packed, mx.float32), self._matrices()).astype(dtype)

    def rows(self, ids: mx.array, dtype: mx.Dtype) -> mx.array:
        """Rows `ids`, counted through a stack, as `[*ids.shape, in]`."""
        if self.turned is not None:  # a row is made of all rows
            return self.dense(dtype).reshape(-1, self.shape[-1])[ids]
        if self.rotated is None:
            return rows(factory(), self.packed, ids, dtype)
        found = rows(factory(), self.packed, ids, mx.float32)
        stack = None if len(self.shape) == 2 else ids // self.shape[-2]
        return self.rotated.back(factory(), found, stack).astype(dtype)

    def inner(self, x: mx.array, which: mx.array | None = None) -> mx.array:
        """`x [..., in]` as the packed matrix, or of a stack the one that `which` names, is multiplied with it."""
        return x if self.rotated is None else self.rotated.apply(factory(), x, which)

    def outer(self, y: mx.array, dtype: mx.Dtype, which: mx.array | None = None) -> mx.array:
        """The product `y [..., out]` with the packed matrix as the product with the weights."""
        return (y if self.turned is None else self.turned.apply(factory(), y, which)).astype(dtype)

    def _matrices(self) -> mx.array | None:
        """Of a stack its matrix for every row."""
        return None if len(self.shape) == 2 else mx.broadcast_to(mx.arange(self.shape[0])[:, None], self.shape[:2])

    def _outside(self, w: mx.array, which: mx.array | None) -> mx.array:
        if self.rotated is not None:
            w = self.rotated.back(factory(), w, which)
        if self.turned is None:
            return w
        columns = None if which is None else mx.broadcast_to(mx.arange(self.shape[0])[:, None], w.shape[::2])
        return self.turned.apply(factory(), w.swapaxes(-1, -2), columns).swapaxes(-1, -2)


def factory() -> source.Factory:
    """What makes kernels here."""
    return cast(source.Factory, mx.fast.metal_kernel)


def serves(op: str, fmt: type[Format]) -> bool:
    """Whether there are kernels for this operation of the format."""
    return op in OPS and fmt.kernel is not None and fmt.kernel in source.stems()


def holds(t: PackedTensor) -> bool:
    """Whether the struct of its format has a place for a matrix; it is laid out for that, so try a small one."""
    return arrays.inputs(t) is not None


def prepare(t: PackedTensor, dtype: mx.Dtype) -> OwnWeight | None:
    """Copy a matrix `[out, in]` into MLX memory, its file pages given back; None where no struct holds it."""
    return _prepared([t], (t.shape[-2], t.shape[-1]))


def prepare_stack(tensors: Sequence[PackedTensor], dtype: mx.Dtype) -> OwnWeight | None:
    """Copy matrices `[out, in]` of one format and shape into MLX memory as one stack; None as in `prepare`."""
    return _prepared(tensors, (len(tensors), *tensors[0].shape))


def _prepared(tensors: Sequence[PackedTensor], shape: tuple[int, ...]) -> OwnWeight | None:
    each: list[Inputs] = []
    for t in tensors:
        one = arrays.inputs(t)
        if one is None or (each and not arrays.alike(one, each[0])):
            return None
        each.append(one)
    packed = arrays.packed(each, shape)
    for t in tensors:
        for part in t.parts.values():
            release(part)
    stack = len(shape) > 2
    rotated, turned = (Turn.of([getattr(one, n) for one in each], stack) for n in ("rotated", "turned"))
    mx.eval([turn.arrays for turn in (rotated, turned) if turn is not None])
    return OwnWeight(packed, rotated=rotated, turned=turned)


def matmul(x: mx.array, w: OwnWeight) -> mx.array:
    """`x [..., in] @ w [out, in].T -> [..., out]` in x's dtype."""
    flat = x.reshape(-1, w.shape[1])
    inner = w.inner(flat)
    if flat.shape[0] <= FEW:
        y = qmv(factory(), w.packed, inner)
    else:
        y = inner.astype(x.dtype) @ dequantize(factory(), w.packed, x.dtype).T
    y = w.outer(y, x.dtype)
    return y.reshape(*x.shape[:-1], w.shape[0])


def transposed(x: mx.array, w: OwnWeight) -> mx.array:
    """`x [..., out] @ w [out, in] -> [..., in]` in x's dtype."""
    y: mx.array = x @ w.dense(x.dtype)
    return y


def embedding(ids: mx.array, w: OwnWeight, dtype: mx.Dtype) -> mx.array:
    """Rows `ids` (any shape) as `[*ids.shape, in]`; only the rows asked for are decoded."""
    return w.rows(ids, dtype)


def gather(x: mx.array, w: OwnWeight, indices: mx.array, in_order: bool, transpose: bool = True) -> mx.array:
    """Each `x [*batch, m, in]` times the matrix its index names, transposed -> `[*indices.shape, m, out]`.

    Without `transpose` as stored: `[*batch, m, out] -> [*indices.shape, m, in]`; the chosen matrices are decoded.
    """
    count, width = x.shape[-2:]
    batch = np.broadcast_shapes(x.shape[:-2], indices.shape)
    spread, chosen = mx.broadcast_to(x, (*batch, count, width)), mx.broadcast_to(indices, batch)
    if not transpose:
        ids = chosen[..., None] * w.shape[1] + mx.arange(w.shape[1])
        return spread @ w.rows(ids, x.dtype)
    named = mx.broadcast_to(chosen[..., None], (*batch, count))
    flat = named.reshape(-1)
    y = w.outer(gather_packed(factory(), w.packed, w.inner(spread.reshape(-1, width), flat), flat), x.dtype, flat)
    return y.reshape(*batch, count, w.shape[1])


def multi(x: mx.array, w: OwnWeight, transpose: bool) -> mx.array:
    """Per head: `x [..., n, m, k]` times its matrix, transposed (`k = in`) or as stored (`k = out`)."""
    dense = w.dense(x.dtype)
    y: mx.array = x @ (dense.swapaxes(-1, -2) if transpose else dense)
    return y
