"""Packed blocks to floats: one thread for 16 weights."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

from localq_metal.source import Factory, build

CHUNK = 16
THREADS = 64


def dequantize(factory: Factory, stem: str, packed: mx.array, shape: Sequence[int], dtype: mx.Dtype) -> mx.array:
    """The weights of `packed` (uint8, whole blocks in C order) as `shape` in float32, float16 or bfloat16.

    Every weight is decoded in float32 and rounded once, to nearest even.
    """
    size = 1
    for axis in shape:
        size *= axis
    if size == 0:
        return mx.zeros(tuple(shape), dtype)
    chunks = size // CHUNK
    y: mx.array = build(factory, "dequantize", stem)(
        inputs=[packed.reshape(-1)],
        template=[("T", dtype), ("CHUNKS", chunks)],
        grid=(chunks, 1, 1),
        threadgroup=(THREADS, 1, 1),
        output_shapes=[tuple(shape)],
        output_dtypes=[dtype],
    )[0]
    return y
