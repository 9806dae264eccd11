"""The residual and the norm of what is added to it in one launch (Gemma 2 and 3 norm after a block, too)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx

from localq_metal.fused import Norm
from localq_metal.source import LIMIT, Factory, body

THREADS = 256


@cache
def _build(factory: Factory, eps: float) -> Callable[..., Any]:
    header, source = f"constant float EPS = {eps:.9e}f;\n", body("norm_add")
    assert len(header) + len(source) < LIMIT
    names = ["x", "more", "gain"]
    return factory(name="localq_norm_add", input_names=names, output_names=["y"], source=source, header=header)


def norm_add(factory: Factory, x: mx.array, more: mx.array, norm: Norm) -> mx.array:
    """`more + RMSNorm(x)` for `x` and `more [m, width]`, computed in float32, in x's dtype; float16 is clipped."""
    rows, width = x.shape
    y: mx.array = _build(factory, norm.eps)(
        inputs=[x.reshape(-1), more.reshape(-1), norm.gain],
        template=[("T", x.dtype), ("K", width), ("CLIP", int(x.dtype == mx.float16))],
        grid=(THREADS, rows, 1),
        threadgroup=(THREADS, 1, 1),
        output_shapes=[(rows, width)],
        output_dtypes=[x.dtype],
    )[0]
    return y
