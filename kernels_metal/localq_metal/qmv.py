"""Packed matrix times a vector, or times a few: weights are decoded in registers, nothing is written back."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from localq_metal.source import MAX_ROWS, MAX_THREADS, Factory, Packed, launch

ROWS, SIMDGROUPS = 4, 2  # where nothing is known of the device
BATCHES = (2, 4, 8, 16)  # rows of x that one launch of `qmv_few` decodes the weights for


@dataclass(frozen=True)
class Shape:
    """How a product is cut up: rows of the matrix for a simdgroup, simdgroups in a threadgroup."""

    rows: int = ROWS
    simdgroups: int = SIMDGROUPS

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= 8 and 1 <= self.simdgroups <= MAX_THREADS // 32):
            raise ValueError(f"{self}: 1 to 8 rows, 1 to {MAX_THREADS // 32} simdgroups")


DEFAULT = Shape()


def qmv(factory: Factory, packed: Packed, x: mx.array, shape: Shape = DEFAULT) -> mx.array:
    """`x [m, in]` times a packed matrix `[out, in]` transposed: `[m, out]` in x's dtype.

    Sums are float32; their order is the device's. The weights are read once for every row of `x`.
    """
    return products(factory, "qmv", packed, [x], shape)


def qmv_few(factory: Factory, packed: Packed, x: mx.array, shape: Shape = DEFAULT) -> mx.array:
    """`x [m, in]` (2 to 16 rows) times a packed matrix transposed, as `qmv`; weights are decoded once for all rows."""
    batch = next(b for b in BATCHES if b >= x.shape[0])
    rows = max(1, min(shape.rows, 16 // batch))  # sums stay in registers: at most 16 of them, and 32 for 16 rows
    return products(factory, "qmv_few", packed, [x], Shape(rows, shape.simdgroups), batch)


def products(
    factory: Factory, body: str, packed: Packed, arrays: list[mx.array], shape: Shape = DEFAULT, batch: int = 1
) -> mx.array:
    """The launch of `qmv`, `gather` and `qmv_few`: a row of `arrays[0]` `[m, in]` times a matrix gives one of `y`."""
    x, *rest = arrays
    tokens, rows = x.shape[0], packed.shape[-2]
    if tokens * rows == 0:
        return mx.zeros((tokens, rows), x.dtype)
    if tokens > MAX_ROWS:
        parts = [[a[i : i + MAX_ROWS] for a in arrays] for i in range(0, tokens, MAX_ROWS)]
        return mx.concatenate([products(factory, body, packed, part, shape, batch) for part in parts])
    groups = -(-rows // (shape.rows * shape.simdgroups))
    several = [("B", batch)] if batch > 1 else []
    return launch(
        factory,
        body,
        packed,
        [x.reshape(-1), *rest],
        template=[("T", x.dtype), ("R", shape.rows), ("SG", shape.simdgroups), *several],
        grid=(32 * shape.simdgroups * groups, -(-tokens // batch), 1),
        threadgroup=(32 * shape.simdgroups, 1, 1),
        output_shapes=[(tokens, rows)],
        output_dtypes=[x.dtype],
    )
