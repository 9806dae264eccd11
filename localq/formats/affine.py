"""affine_<bits>bit_g<group>: MLX's integer mode; weight = scale * code + bias, one of each per group of a row.

Codes are unsigned, in a little-endian bitstream of uint32 words. Bits 1, 2, 3, 4, 5, 6, 8 and groups of 32, 64, 128
make 21 formats, all of this file. Scales and biases are float16, bfloat16 or float32, both alike. The arithmetic
here is float32, the one of MLX for float32 activations; with 16-bit scales the product is exact.
Source: `affine_dequantize` (mlx/ops.cpp, mlx/backend/cpu/quantized.cpp).
"""

from __future__ import annotations

import types
from collections.abc import Mapping

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import PackedTensor
from localq.formats.bits import pack, unpack
from localq.formats.mlx_modes import AFFINE_BITS, AFFINE_GROUPS, MLXFormat
from localq.formats.rounding import refuse_nonfinite


class Affine(MLXFormat, symmetric=False, scale_parts=("scales", "biases"), zero_scales=True):
    mode = "affine"
    scale_dtype = "float16|bfloat16|float32"
    part_names = ("weight", "scales", "biases")

    @classmethod
    def check(cls, parts: Mapping[str, Array]) -> None:
        scales, biases = parts["scales"].dtype, parts["biases"].dtype
        if scales != biases:
            raise CheckpointError(
                f"Scales of a {cls.name} tensor are {scales}, its biases {biases}; expected one dtype."
            )

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        out = np.empty(t.shape, np.float32)
        words = t.parts["weight"].reshape(-1, t.parts["weight"].shape[-1])
        scales, biases = (t.parts[n].reshape(len(words), -1) for n in ("scales", "biases"))
        flat = out.reshape(len(words), -1, cls.group_size)
        step = max(1, (1 << 17) // max(t.shape[-1], 1))  # keep a chunk's temporaries inside the CPU's caches
        with np.errstate(all="ignore"):  # damaged scales are inf or NaN; the weights then are too, as in MLX
            for i in range(0, len(words), step):
                rows = slice(i, i + step)
                flat[rows] = unpack(words[rows], int(cls.bits)).reshape(flat[rows].shape)
                flat[rows] *= scales[rows].astype(np.float32)[:, :, None]
                flat[rows] += biases[rows].astype(np.float32)[:, :, None]
        return out

    @classmethod
    def quantize(cls, w: Array) -> PackedTensor:
        """Round to nearest, as `mx.quantize`; `w` is float32, float16 or bfloat16, and so are scales and biases."""
        layout = cls.layout(w.shape)
        refuse_nonfinite(cls.name, w)
        top = (1 << int(cls.bits)) - 1
        groups = w.reshape(-1, cls.group_size)
        codes = np.empty(groups.shape, np.uint8)
        scales, biases = (np.empty(len(groups), w.dtype) for _ in range(2))
        step = (1 << 17) // cls.group_size
        with np.errstate(all="ignore"):  # the steps of enormous weights overflow float32, as in MLX
            for i in range(0, len(groups), step):
                some = slice(i, i + step)
                codes[some], scales[some], biases[some] = _encode(groups[some].astype(np.float32), np.float32(top))
        shape = layout["scales"].shape
        parts = {"weight": pack(codes.reshape(w.shape), int(cls.bits)), "scales": scales.reshape(shape)}
        return PackedTensor(cls, w.shape, {**parts, "biases": biases.reshape(shape)})


def _encode(w: NDArray[np.float32], top: np.float32) -> tuple[Array, Array, Array]:
    """Codes `[n, group]`, scales and biases `[n]`: the end of the range that is farther from 0 is met exactly.

    The scale then is such that 0 has a code, wherever a step is no longer than that end. One bit is another rule:
    its two codes are the two ends.
    """
    low, high = w.min(axis=1), w.max(axis=1)
    down = np.abs(low) > np.abs(high)
    scale = np.maximum((high - low) / top, np.float32(1e-7))
    bias = low
    if top > 1:
        scale = np.where(down, scale, -scale)
        edge = np.where(down, low, high)
        steps = np.rint(edge / scale)
        scale = np.where(steps != 0, edge / steps, scale)
        bias = np.where(steps != 0, edge, np.float32(0))
    codes = np.rint((w - bias[:, None]) / scale[:, None])
    return np.clip(codes, 0, top).astype(np.uint8), scale, bias


for _bits in AFFINE_BITS:
    for _group in AFFINE_GROUPS:
        types.new_class(
            f"Affine{_bits}Bit{_group}",
            (Affine,),
            {
                "name": f"affine_{_bits}bit_g{_group}",
                "bits": _bits,
                "group_size": _group,
                "bits_per_weight": _bits + 32 / _group,
                "scale": f"16-bit float scale and bias per {_group}",
            },
        )
