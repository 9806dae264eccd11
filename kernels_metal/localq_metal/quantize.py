"""Floats to MLX's packed layouts on the device: affine, MXFP4, MXFP8, NVFP4, and FP8 E4M3 codes.

The same weights give the same bytes on every machine, which MLX itself does not promise: its Metal kernel for the
affine mode rounds half-way codes away from zero and counts zero among the extremes of a group, its CPU rounds to even;
for 4-bit floats it is the CPU that departs from half-way-to-even. Here affine and FP8 codes are those of `mx.quantize`
and `mx.to_fp8` on a CPU, small floats those of OCP's specification (half-way to even, the sign of zero kept), which
MLX's Metal kernel follows too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import mlx.core as mx

from localq_metal.source import LIMIT, Factory, body

FLOATS = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}  # group size, bits
BITS, GROUPS = (1, 2, 3, 4, 5, 6, 8), (32, 64, 128)
THREADS = 64
OUTPUTS = {"quantize_affine": ["wq", "scales", "biases"], "quantize_float": ["wq", "scales"], "to_fp8": ["o"]}


@cache
def small_floats() -> str:
    """Conversions to E4M3, E2M1 and E8M0, which the bodies `quantize_float` and `to_fp8` call."""
    return (files("localq_metal") / "small_floats.h").read_text(encoding="utf-8")


@cache
def build(factory: Factory, name: str) -> Callable[..., Any]:
    """The kernel `name`, made by `factory` at the first call."""
    header, source = "" if name == "quantize_affine" else small_floats(), body(name)
    assert len(header) + len(source) < LIMIT, name
    return factory(name=f"localq_{name}", input_names=["w"], output_names=OUTPUTS[name], source=source, header=header)


def affine(factory: Factory, w: mx.array, group_size: int, bits: int) -> tuple[mx.array, mx.array, mx.array]:
    """`w [..., in]` (float32, float16 or bfloat16) as `mx.quantize` packs it: codes (uint32), scales and biases.

    `in` is a multiple of `group_size`; scales and biases are `[..., in / group_size]` in w's dtype.
    """
    assert bits in BITS and group_size in GROUPS and w.shape[-1] % group_size == 0 and w.size, (w.shape, group_size)
    groups, lead = w.size // group_size, w.shape[:-1]
    few = (*lead, w.shape[-1] // group_size)
    codes, scales, biases = build(factory, "quantize_affine")(
        inputs=[w.reshape(-1)],
        template=[("T", w.dtype), ("G", group_size), ("BITS", bits), ("GROUPS", groups)],
        grid=(32 * groups, 1, 1),
        threadgroup=(THREADS, 1, 1),
        output_shapes=[(*lead, w.shape[-1] * bits // 32), few, few],
        output_dtypes=[mx.uint32, w.dtype, w.dtype],
    )
    return codes, scales, biases


def floating(factory: Factory, w: mx.array, mode: str) -> tuple[mx.array, mx.array]:
    """`w [..., in]` in MLX's `mode` (a key of `FLOATS`): codes (uint32) and scales (uint8 `[..., in / group]`)."""
    group_size, bits = FLOATS[mode]
    assert w.shape[-1] % group_size == 0 and w.size, (w.shape, mode)
    groups, lead = w.size // group_size, w.shape[:-1]
    codes, scales = build(factory, "quantize_float")(
        inputs=[w.reshape(-1)],
        template=[("T", w.dtype), ("G", group_size), ("BITS", bits), ("GROUPS", groups)],
        grid=(-(-w.size // 32) * 32, 1, 1),
        threadgroup=(THREADS, 1, 1),
        output_shapes=[(*lead, w.shape[-1] * bits // 32), (*lead, w.shape[-1] // group_size)],
        output_dtypes=[mx.uint32, mx.uint8],
    )
    return codes, scales


def to_fp8(factory: Factory, w: mx.array) -> mx.array:
    """`w` as FP8 E4M3 codes (uint8) of the same shape, rounded to even; what is too large becomes +-448."""
    o: mx.array = build(factory, "to_fp8")(
        inputs=[w.reshape(-1)],
        template=[("T", w.dtype), ("SIZE", w.size)],
        grid=(w.size, 1, 1),
        threadgroup=(THREADS, 1, 1),
        output_shapes=[w.shape],
        output_dtypes=[mx.uint8],
    )[0]
    return o
