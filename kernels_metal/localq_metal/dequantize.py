"""Packed rows to floats: one thread for 16 weights."""

from __future__ import annotations

import math

import mlx.core as mx

from localq_metal.source import Factory, Packed, launch

CHUNK = 16
THREADS = 64


def dequantize(factory: Factory, packed: Packed, dtype: mx.Dtype) -> mx.array:
    """All weights, in the shape of `packed`, in float32, float16 or bfloat16.

    Every weight is decoded in float32 and rounded once, to nearest even.
    """
    return _decode(factory, "dequantize", packed, [], (packed.shape, dtype))


def rows(factory: Factory, packed: Packed, ids: mx.array, dtype: mx.Dtype) -> mx.array:
    """The rows `ids` (any shape; counted through a stack) as `[*ids.shape, in]`; otherwise as `dequantize`."""
    chosen = ids.astype(mx.uint32).reshape(-1)
    return _decode(factory, "rows", packed, [chosen], ((*ids.shape, packed.shape[-1]), dtype))


def _decode(
    factory: Factory, body: str, packed: Packed, arrays: list[mx.array], result: tuple[tuple[int, ...], mx.Dtype]
) -> mx.array:
    shape, dtype = result
    chunks = math.prod(shape) // CHUNK
    if chunks == 0:
        return mx.zeros(shape, dtype)
    return launch(
        factory,
        body,
        packed,
        arrays,
        template=[("T", dtype), ("CHUNKS", chunks)],
        grid=(chunks, 1, 1),
        threadgroup=(THREADS, 1, 1),
        output_shapes=[shape],
        output_dtypes=[dtype],
    )
