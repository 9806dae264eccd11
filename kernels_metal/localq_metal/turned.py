"""RMSNorm or biases, and RoPE, of the heads of queries and keys in one launch, where MLX takes two of each.

Values come out behind keys: a cache can take both in one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx

from localq_metal.fused import Norm
from localq_metal.source import LIMIT, Factory, body

SIMDGROUPS = 2


@cache
def _build(factory: Factory, eps: float) -> Callable[..., Any]:
    header, source = f"constant float EPS = {eps:.9e}f;\n", body("turned")
    assert len(header) + len(source) < LIMIT
    names = ["q", "k", "v", "gain", "turn"]
    return factory(name="localq_turned", input_names=names, output_names=["y"], source=source, header=header)


def turned(
    factory: Factory, each: tuple[mx.array, mx.array, mx.array], first: Norm | mx.array, table: mx.array
) -> mx.array:
    """Queries `[m, hq, head]`, keys and values `[m, hk, head]`: `[m, hq + 2 hk, head]`.

    Heads of the first two are normed and rotated; `first.gain [2 * head]` is that of queries, then that of keys. Where
    `first` is an array, it is the biases `[(hq + 2 hk) * head]` of all three, added before the rotation; nothing is
    normed then. `table [m, head]` is `fused.Turn.table`.
    """
    gain, eps = (first, 0.0) if isinstance(first, mx.array) else (first.gain, first.eps)
    (rows, some, head), few = each[0].shape, each[1].shape[1]
    biased = int(isinstance(first, mx.array))
    assert head % 2 == 0 and gain.size == head * (some + 2 * few if biased else 2) and table.size == rows * head
    assert each[1].shape == each[2].shape == (rows, few, head)
    groups = -(-rows * (some + 2 * few) // SIMDGROUPS)
    y: mx.array = _build(factory, eps)(
        inputs=[*(a.reshape(-1) for a in each), gain, table.reshape(-1)],
        template=[("T", each[0].dtype), ("HEAD", head), ("QUERIES", some), ("KEYS", few)]
        + [("ROWS", rows), ("SG", SIMDGROUPS), ("BIASED", biased)],
        grid=(32 * SIMDGROUPS * groups, 1, 1),
        threadgroup=(32 * SIMDGROUPS, 1, 1),
        output_shapes=[(rows, some + 2 * few, head)],
        output_dtypes=[each[0].dtype],
    )[0]
    return y
