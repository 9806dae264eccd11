"""The slow, right twin of every kernel: numpy dequantisation in row blocks, numpy float32 products.

Eager on purpose. In a lazy MLX graph every layer's dequantised weights would stay alive until the graph is
evaluated, so the whole model would be dequantised at once; here one block of rows lives at a time, also for an
lm_head of 150,000 rows. numpy's OpenBLAS is several times faster than the BLAS of MLX's Linux CPU build.

Weights are `PackedTensor`s whose parts are usually views of the mapped file: nothing is copied when they are placed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localq.formats.base import PackedTensor
from localq.kernels import gradient

NAME = "reference"
# float32 bytes of one dequantised row block. For a few tokens it stays in a core's cache and under the size at which
# OpenBLAS wakes its other threads (measured: 5 ms against 30 for 2816 x 1024 in q4_k); many tokens want fewer calls.
FEW, FEW_BYTES, MANY_BYTES = 16, 1 << 20, 8 << 20
Floats = NDArray[np.float32]


def prepare(t: PackedTensor, dtype: mx.Dtype) -> PackedTensor:
    """A weight `[..., out, in]` ready for the functions below: the tensor itself, still packed, still mapped."""
    return t


def prepare_stack(tensors: Sequence[PackedTensor], dtype: mx.Dtype) -> list[PackedTensor]:
    """A stack of matrices (experts, heads), each `[out, in]` in a format of its own."""
    return list(tensors)


def matmul(x: mx.array, t: PackedTensor) -> mx.array:
    """`x [..., in] @ t [out, in].T -> [..., out]` in x's dtype, computed in float32."""
    return gradient.product(x, lambda v: _matmul(v, t, _times_rows), lambda v: _matmul(v, t, _times_columns))


def transposed(x: mx.array, t: PackedTensor) -> mx.array:
    """`x [..., out] @ t [out, in] -> [..., in]` in x's dtype, computed in float32."""
    return gradient.product(x, lambda v: _matmul(v, t, _times_columns), lambda v: _matmul(v, t, _times_rows))


def _matmul(x: mx.array, t: PackedTensor, times: Callable[[Floats, PackedTensor], Floats]) -> mx.array:
    y = times(_floats(x).reshape(-1, x.shape[-1]), t)
    return _array(y.reshape(*x.shape[:-1], y.shape[-1]), x.dtype)


def embedding(ids: mx.array, t: PackedTensor, dtype: mx.Dtype) -> mx.array:
    """Rows `ids` (any shape) of `t [rows, in]` as `[*ids.shape, in]`; only the rows asked for are decoded."""
    wanted, place = np.unique(np.asarray(ids), return_inverse=True)
    rows = t.rows(wanted.astype(np.int64)).dequantize()
    return _array(rows[place.reshape(-1)].reshape(*ids.shape, t.shape[-1]), dtype)


def gather(
    x: mx.array, experts: Sequence[PackedTensor], indices: mx.array, in_order: bool, transpose: bool = True
) -> mx.array:
    """Each `x [*batch, m, in]` times the expert its index names, transposed -> `[*indices.shape, m, out]`.

    Without `transpose` as stored: `[*batch, m, out] -> [*indices.shape, m, in]`.
    `x`'s batch axes broadcast against `indices`. Experts nobody chose are not decoded, and one lives at a time.
    """
    return gradient.product(
        x,
        lambda v: _gather(v, experts, indices, transpose),
        lambda v: _gather(v, experts, indices, not transpose),
    )


def _gather(x: mx.array, experts: Sequence[PackedTensor], indices: mx.array, transpose: bool) -> mx.array:
    batch = np.broadcast_shapes(x.shape[:-2], indices.shape)
    chosen = np.broadcast_to(np.asarray(indices), batch).reshape(-1)
    rows, width = x.shape[-2:]
    spread = np.broadcast_to(_floats(x), (*batch, rows, width)).reshape(-1, rows, width)
    times, out_features = (_times_rows, experts[0].shape[-2]) if transpose else (_times_columns, experts[0].shape[-1])
    y = np.empty((len(chosen), rows, out_features), np.float32)
    for expert in np.unique(chosen):
        at = np.flatnonzero(chosen == expert)
        product = times(spread[at].reshape(-1, width), experts[int(expert)])
        y[at] = product.reshape(len(at), rows, out_features)
    return _array(y.reshape(*batch, rows, out_features), x.dtype)


def multi(x: mx.array, heads: Sequence[PackedTensor], transpose: bool) -> mx.array:
    """Per head: `x [..., heads, m, k]` times its `[out, in]`, transposed (`k = in`) or as stored (`k = out`)."""
    return gradient.product(x, lambda v: _multi(v, heads, transpose), lambda v: _multi(v, heads, not transpose))


def _multi(x: mx.array, heads: Sequence[PackedTensor], transpose: bool) -> mx.array:
    values = _floats(x)
    times = _times_rows if transpose else _times_columns
    columns = heads[0].shape[-2 if transpose else -1]
    values = np.broadcast_to(values, (*values.shape[:-3], len(heads), *values.shape[-2:]))
    y = np.empty((*values.shape[:-1], columns), np.float32)
    for head, t in enumerate(heads):
        part = values[..., head, :, :]
        y[..., head, :, :] = times(part.reshape(-1, part.shape[-1]), t).reshape(*part.shape[:-1], columns)
    return _array(y, x.dtype)


def row_blocks(t: PackedTensor, tokens: int) -> Iterator[tuple[slice, Floats]]:
    """`t [out, in]` decoded block by block for a product with `tokens` rows: (rows, float32 `[rows, in]`)."""
    block_bytes = FEW_BYTES if tokens <= FEW else MANY_BYTES
    multiple = t.format.row_multiple
    step = max(1, block_bytes // (4 * max(t.shape[-1], 1) * multiple)) * multiple
    if t.format.mixed_rows:
        step = max(step, t.shape[-2])
    for start in range(0, t.shape[-2], step):
        rows = slice(start, min(start + step, t.shape[-2]))
        yield rows, t.rows(rows).dequantize()


def _times_rows(x: Floats, t: PackedTensor) -> Floats:
    y = np.empty((len(x), t.shape[-2]), np.float32)
    for rows, block in row_blocks(t, len(x)):
        y[:, rows] = x @ block.T
    return y


def _times_columns(x: Floats, t: PackedTensor) -> Floats:
    y = np.zeros((len(x), t.shape[-1]), np.float32)
    for rows, block in row_blocks(t, len(x)):
        y += x[:, rows] @ block
    return y


def _floats(x: mx.array) -> Floats:
    """The values of an MLX array as float32 numpy; evaluates it (numpy has no bfloat16 of MLX's)."""
    values: NDArray[Any] = np.asarray(x if x.dtype == mx.float32 else x.astype(mx.float32))
    return values


def _array(values: Floats, dtype: mx.Dtype) -> mx.array:
    y = mx.array(values)
    return y if dtype == mx.float32 else y.astype(dtype)
