"""RMSNorm and RoPE of the heads of queries and keys in one launch, where MLX takes two of each."""

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
    names = ["q", "k", "gain", "turn"]
    return factory(name="localq_turned", input_names=names, output_names=["y"], source=source, header=header)


def turned(factory: Factory, queries: mx.array, keys: mx.array, norm: Norm, table: mx.array) -> mx.array:
    """`queries [m, hq, head]` and `keys [m, hk, head]`, each head normed and rotated: `[m, hq + hk, head]`.

    `norm.gain [2 * head]` is that of queries, then that of keys; `table [m, head]` is `fused.Turn.table`.
    """
    (rows, some, head), few = queries.shape, keys.shape[1]
    assert head % 2 == 0 and norm.gain.size == 2 * head and table.size == rows * head
    groups = -(-rows * (some + few) // SIMDGROUPS)
    y: mx.array = _build(factory, norm.eps)(
        inputs=[queries.reshape(-1), keys.reshape(-1), norm.gain, table.reshape(-1)],
        template=[("T", queries.dtype), ("HEAD", head), ("QUERIES", some), ("KEYS", few)]
        + [("ROWS", rows), ("SG", SIMDGROUPS)],
        grid=(32 * SIMDGROUPS * groups, 1, 1),
        threadgroup=(32 * SIMDGROUPS, 1, 1),
        output_shapes=[(rows, some + few, head)],
        output_dtypes=[queries.dtype],
    )[0]
    return y
