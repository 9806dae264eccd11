"""localq's own kernels (`localq_metal`) for formats that no mode of MLX's holds at the same size, on GPUs.

Weights are multiplied where they lie packed, unless so many tokens come that decoding the matrix to the activations'
dtype for MLX's own product costs less (`costs`). Decoded values are those of the format, rounded once; sums are float32
in the packed products, MLX's own in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import mlx.core as mx
import numpy as np

from localq.formats.base import Exactness, Format, PackedTensor
from localq.kernels import arrays, product
from localq.kernels.inputs import Inputs
from localq.kernels.residency import release
from localq.kernels.rotations import Turn
from localq_metal import source
from localq_metal.cuda import cuda_kernel
from localq_metal.dequantize import dequantize, rows

NAME = "own"
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
    def plain(self) -> bool:
        """Whether the packed matrix is multiplied with activations as they come."""
        return self.rotated is None and self.turned is None

    @property
    def way(self) -> str:
        """In words, for the load report."""
        turns = any(turn is not None and turn.turns for turn in (self.rotated, self.turned))
        return f"packed {self.packed.stem}" + (" of rotated inputs" if turns else "")

    def dense(self, dtype: mx.Dtype) -> mx.array:
        """The weights in float32, float16 or bfloat16."""
        if self.plain:
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
    """What makes kernels here: MLX's, on NVIDIA's GPUs from translated text."""
    return cuda_kernel if mx.cuda.is_available() else cast(source.Factory, mx.fast.metal_kernel)


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
    y = product.matrix(factory(), w.packed, w.inner(x.reshape(-1, w.shape[1])), x.dtype)
    return w.outer(y, x.dtype).reshape(*x.shape[:-1], w.shape[0])


def transposed(x: mx.array, w: OwnWeight) -> mx.array:
    """`x [..., out] @ w [out, in] -> [..., in]` in x's dtype."""
    if not w.plain:
        y: mx.array = x @ w.dense(x.dtype)
        return y
    return product.stored(factory(), w.packed, x.reshape(-1, w.shape[0])).reshape(*x.shape[:-1], w.shape[1])


def embedding(ids: mx.array, w: OwnWeight, dtype: mx.Dtype) -> mx.array:
    """Rows `ids` (any shape) as `[*ids.shape, in]`; only the rows asked for are decoded."""
    return w.rows(ids, dtype)


def gather(x: mx.array, w: OwnWeight, indices: mx.array, in_order: bool, transpose: bool = True) -> mx.array:
    """Each `x [*batch, m, in]` times the matrix its index names, transposed -> `[*indices.shape, m, out]`.

    Without `transpose` as stored: `[*batch, m, out] -> [*indices.shape, m, in]`.
    """
    count, width = x.shape[-2:]
    batch = np.broadcast_shapes(x.shape[:-2], indices.shape)
    spread, chosen = mx.broadcast_to(x, (*batch, count, width)), mx.broadcast_to(indices, batch)
    if not transpose and not w.plain:
        ids = chosen[..., None] * w.shape[1] + mx.arange(w.shape[1])
        return spread @ w.rows(ids, x.dtype)
    which = mx.broadcast_to(chosen[..., None], (*batch, count)).reshape(-1)
    return _named(spread.reshape(-1, width), w, which, transpose).reshape(*batch, count, -1)


def multi(x: mx.array, w: OwnWeight, transpose: bool) -> mx.array:
    """Per head: `x [..., n, m, k]` times its matrix, transposed (`k = in`) or as stored (`k = out`)."""
    if not w.plain or not product.packed_heads(w.packed, x):
        dense = w.dense(x.dtype)
        y: mx.array = x @ (dense.swapaxes(-1, -2) if transpose else dense)
        return y
    batch = (*x.shape[:-3], w.shape[0], x.shape[-2])
    heads = np.broadcast_to(np.arange(w.shape[0], dtype=np.uint32)[:, None], batch)  # no launch: it is made here
    flat = mx.broadcast_to(x, (*batch, x.shape[-1])).reshape(-1, x.shape[-1])
    return _named(flat, w, mx.array(heads.reshape(-1)), transpose).reshape(*batch, -1)


def _named(x: mx.array, w: OwnWeight, which: mx.array, transpose: bool) -> mx.array:
    """`x [m, k]`, each row times matrix `which[i]` of a stack."""
    if not transpose:
        return product.stored(factory(), w.packed, x, which)
    return w.outer(product.experts(factory(), w.packed, w.inner(x, which), which), x.dtype, which)
