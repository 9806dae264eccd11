"""Products with a packed matrix, or with matrices of a packed stack, by whichever kernel costs least (`costs`).

Everything here works on flat rows; shapes, scales and rotations around the product are the caller's.
"""

from __future__ import annotations

import mlx.core as mx

from localq.kernels import costs, tuning
from localq_metal.dequantize import dequantize
from localq_metal.gather import gather
from localq_metal.qmm import qmm, sorted_qmm
from localq_metal.qmv import qmv, qmv_few
from localq_metal.qvm import qvm
from localq_metal.source import Factory, Packed


def matrix(factory: Factory, packed: Packed, x: mx.array, dtype: mx.Dtype) -> mx.array:
    """`x [m, in]` times `packed [out, in]` transposed: `[m, out]` in x's dtype, or `dtype` where it was decoded to."""
    way = costs.matrix(x.shape[0], bits(packed), dtype.size, tuning.balance())
    if way == "vector":
        return qmv(factory, packed, x, tuning.shape(packed.stem))
    if way == "few":
        return qmv_few(factory, packed, x, tuning.shape(packed.stem))
    if way == "tiles":
        return qmm(factory, packed, x)
    y: mx.array = x.astype(dtype) @ dequantize(factory, packed, dtype).T
    return y


def experts(factory: Factory, packed: Packed, x: mx.array, which: mx.array) -> mx.array:
    """`x [m, in]` times matrix `which[i]` of `packed [n, out, in]` transposed: `[m, out]` in x's dtype."""
    way = costs.experts(x.shape[0], packed.shape[0], bits(packed), x.dtype.size, tuning.balance())
    if way == "sorted":
        return sorted_qmm(factory, packed, x, which)
    if way == "decoded":
        dense = dequantize(factory, packed, x.dtype).swapaxes(-1, -2)
        return mx.gather_mm(x[:, None], dense, rhs_indices=which)[:, 0]
    return gather(factory, packed, x, which)


def stored(factory: Factory, packed: Packed, x: mx.array, which: mx.array | None = None) -> mx.array:
    """`x [m, out]` times `packed [out, in]`, or matrix `which[i]` of a stack, as stored: `[m, in]` in x's dtype."""
    count = 1 if which is None else packed.shape[0]
    if costs.stored(x.shape[0], count, bits(packed), x.dtype.size, tuning.balance()) == "each":
        return qvm(factory, packed, x, which)
    dense = dequantize(factory, packed, x.dtype)
    if which is None:
        return x @ dense
    return mx.gather_mm(x[:, None], dense, rhs_indices=which)[:, 0]


def packed_heads(packed: Packed, x: mx.array) -> bool:
    """Whether `x [..., n, m, k]` meets the matrices of a stack packed, not decoded all at once."""
    rows = x.size // x.shape[-1]
    return costs.stored(rows, packed.shape[0], bits(packed), x.dtype.size, tuning.balance()) == "each"


def bits(packed: Packed) -> float:
    """Bits of memory per weight, grids and codebooks among them."""
    return 8 * sum(a.nbytes for a in packed.arrays) / max(packed.size, 1)
