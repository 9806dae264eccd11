"""Vectors times packed matrices as they are stored: latent attention, and the derivative of a packed product."""

from __future__ import annotations

import mlx.core as mx

from localq_metal.source import MAX_ROWS, Factory, Packed, launch

COLUMNS = 512  # of a threadgroup: 16 for each lane of a simdgroup
SIMDGROUPS = 8  # which share the rows; 16 KB of partial sums


def qvm(factory: Factory, packed: Packed, x: mx.array, expert: mx.array | None = None) -> mx.array:
    """`x [m, out]` times a packed matrix `[out, in]`, or matrix `expert[i]` of a stack: `[m, in]` in x's dtype.

    Sums are float32, in one order on every device. Every row of `x` reads its whole matrix.
    """
    tokens, columns = x.shape[0], packed.shape[-1]
    if tokens * columns == 0 or x.shape[1] == 0:
        return mx.zeros((tokens, columns), x.dtype)
    if tokens > MAX_ROWS:
        cuts = [slice(i, i + MAX_ROWS) for i in range(0, tokens, MAX_ROWS)]
        return mx.concatenate([qvm(factory, packed, x[cut], None if expert is None else expert[cut]) for cut in cuts])
    named = [] if expert is None else [expert.astype(mx.uint32).reshape(-1)]
    return launch(
        factory,
        "qvm_matrix" if expert is None else "qvm_gather",
        packed,
        [x.reshape(-1), *named],
        template=[("T", x.dtype), ("SG", SIMDGROUPS)],
        grid=(32 * SIMDGROUPS * -(-columns // COLUMNS), tokens, 1),
        threadgroup=(32 * SIMDGROUPS, 1, 1),
        output_shapes=[(tokens, columns)],
        output_dtypes=[x.dtype],
    )
