"""Many vectors times packed matrices: tiles are decoded into threadgroup memory and multiplied there.

`sorted_qmm` is for experts: the rows of x are put in order of the expert they meet, so that an expert's weights are
decoded once for up to `ROWS` of its tokens, and not at all where it has none.
"""

from __future__ import annotations

import mlx.core as mx

from localq_metal.source import Factory, Packed, launch

ROWS, COLUMNS = 32, 64  # of a threadgroup's tile of the result; 14 KB of threadgroup memory
THREADS = 128


def qmm(factory: Factory, packed: Packed, x: mx.array) -> mx.array:
    """`x [m, in]` times a packed matrix `[out, in]` transposed: `[m, out]` in x's dtype; products and sums in float32.

    Metal only: CUDA has no matrices of simdgroups.
    """
    return _launched(factory, "qmm_matrix", packed, x, [], -(-x.shape[0] // ROWS))


def sorted_qmm(factory: Factory, packed: Packed, x: mx.array, expert: mx.array) -> mx.array:
    """`x [m, in]` times matrix `expert[i]` of a packed stack `[n, out, in]` transposed: `[m, out]`, as `qmm`."""
    order = mx.argsort(expert)
    y = _launched(factory, "qmm_sorted", packed, x[order], [tiles(expert, packed.shape[0])], count(expert, packed))
    return y[mx.argsort(order)]


def count(expert: mx.array, packed: Packed) -> int:
    """Threadgroups for rows that meet the experts of a stack: full tiles, and one begun for every expert."""
    return expert.size // ROWS + min(packed.shape[0], expert.size)


def tiles(expert: mx.array, experts: int) -> mx.array:
    """For every tile its matrix, its first row among the sorted ones and the end of them: uint32 `[tiles * 3]`.

    The number of tiles is an upper bound, so that nothing waits for the device to count; those left over are empty.
    """
    of = mx.arange(experts)
    rows = (expert.reshape(1, -1) == of[:, None]).sum(axis=1)
    begun = (rows + (ROWS - 1)) // ROWS
    last, end = mx.cumsum(begun), mx.cumsum(rows)
    index = mx.arange(expert.size // ROWS + min(experts, expert.size))
    passed = last[None] <= index[:, None]
    matrix = mx.minimum(passed.sum(axis=1), experts - 1)
    first = (end - rows)[matrix] + (index - (last - begun)[matrix]) * ROWS
    until = mx.minimum(first + ROWS, end[matrix])
    listed = mx.stack([matrix, mx.minimum(first, until), until], axis=1).astype(mx.uint32).reshape(-1)
    return mx.pad(listed, (0, max(0, 8 - listed.size)))


def _launched(factory: Factory, body: str, packed: Packed, x: mx.array, more: list[mx.array], groups: int) -> mx.array:
    tokens, rows = x.shape[0], packed.shape[-2]
    if tokens * rows == 0:
        return mx.zeros((tokens, rows), x.dtype)
    return launch(
        factory,
        body,
        packed,
        [x.reshape(-1), *more],
        template=[("T", x.dtype), ("BM", ROWS), ("BN", COLUMNS)],
        grid=(THREADS * -(-rows // COLUMNS), groups, 1),
        threadgroup=(THREADS, 1, 1),
        output_shapes=[(tokens, rows)],
        output_dtypes=[x.dtype],
    )
