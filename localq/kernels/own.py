"""localq's own kernels (`localq_metal`) for formats that no mode of MLX's holds at the same size, on Apple GPUs.

A few tokens are multiplied where the weights lie packed. For more the matrix is decoded to the activations' dtype and
MLX multiplies it: packed rows are read once a token, decoding writes and reads them once in two bytes or four, which
bytes alone make even at about `FEW` tokens (not measured on a device yet). Decoded values are those of the format,
rounded once; sums are float32 in the packed product, MLX's own in the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import mlx.core as mx
import numpy as np

from localq.formats.base import Exactness, Format, PackedTensor
from localq.kernels.residency import release
from localq_metal import source
from localq_metal.dequantize import dequantize
from localq_metal.qmv import qmv

NAME = "own"
FEW = 8
OPS = ("matmul", "transposed", "embedding")


@dataclass(frozen=True, eq=False)
class OwnWeight:
    """A packed matrix `[out, in]` in MLX memory: uint8 `[out, bytes of a row]`."""

    stem: str
    packed: mx.array
    shape: tuple[int, int]
    exactness: Exactness = "exact"
    error: float = 0.0

    @property
    def way(self) -> str:
        """In words, for the load report."""
        return f"packed {self.stem}"

    def dense(self, dtype: mx.Dtype) -> mx.array:
        """The matrix in float32, float16 or bfloat16."""
        return dequantize(factory(), self.stem, self.packed, self.shape, dtype)


def factory() -> source.Factory:
    """What makes kernels here."""
    return cast(source.Factory, mx.fast.metal_kernel)


def serves(op: str, fmt: type[Format]) -> bool:
    """Whether there are kernels for this operation of the format."""
    return op in OPS and fmt.kernel is not None and fmt.kernel in source.stems()


def prepare(t: PackedTensor, dtype: mx.Dtype) -> OwnWeight:
    """Copy a matrix `[out, in]` into MLX memory as stored, its file pages given back."""
    assert t.format.kernel is not None and set(t.parts) == {"weight"}, t.format.name
    packed = mx.array(np.ascontiguousarray(t.parts["weight"]))
    mx.eval(packed)
    release(t.parts["weight"])
    return OwnWeight(t.format.kernel, packed, (t.shape[-2], t.shape[-1]))


def matmul(x: mx.array, w: OwnWeight) -> mx.array:
    """`x [..., in] @ w [out, in].T -> [..., out]` in x's dtype."""
    flat = x.reshape(-1, w.shape[1])
    few = flat.shape[0] <= FEW
    y: mx.array = qmv(factory(), w.stem, w.packed, flat) if few else flat @ w.dense(x.dtype).T
    return y.reshape(*x.shape[:-1], w.shape[0])


def transposed(x: mx.array, w: OwnWeight) -> mx.array:
    """`x [..., out] @ w [out, in] -> [..., in]` in x's dtype."""
    y: mx.array = x @ w.dense(x.dtype)
    return y


def embedding(ids: mx.array, w: OwnWeight, dtype: mx.Dtype) -> mx.array:
    """Rows `ids` (any shape) as `[*ids.shape, in]`; only the rows asked for are decoded."""
    rows = w.packed[ids.reshape(-1)]
    return dequantize(factory(), w.stem, rows, (*ids.shape, w.shape[1]), dtype)
