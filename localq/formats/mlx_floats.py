"""Decoding of MLX's three float modes by a table of bytes of codes and one of scale bytes. No format of its own."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from localq.errors import UnsupportedError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Match, PackedTensor, Part
from localq.formats.bits import pack
from localq.formats.mlx_modes import MLXFormat
from localq.formats.rounding import refuse_nonfinite

_E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6)


@cache
def _bytes() -> NDArray[np.uint8]:
    return np.arange(256, dtype=np.uint8)


@cache
def e2m1_pairs() -> Array:
    """For every byte its two E2M1 nibbles, low one first, as float32 pairs in one 8-byte item."""
    values = np.array(_E2M1, np.float32)
    return np.stack([values[_bytes() & 15], values[_bytes() >> 4]], axis=1).view(np.float64)[:, 0]


@cache
def e4m3() -> NDArray[np.float32]:
    """Values of the 256 E4M3 bytes: largest 448, 0x7F and 0xFF are NaN, no infinities."""
    values: NDArray[np.float32] = _bytes().view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    return values


@cache
def e8m0() -> NDArray[np.float32]:
    """2**(e - 127) for the 256 exponent bytes; 255, NaN in OCP's standard, is 2**128, infinite, to MLX."""
    with np.errstate(over="ignore"):
        powers: NDArray[np.float32] = np.ldexp(np.float32(1), _bytes().astype(np.int32) - 127)
    return powers


def power_scales(groups: NDArray[np.float32], greatest: float) -> NDArray[np.uint8]:
    """E8M0 bytes `[n]`: the least power of two by which the largest weight is at most `greatest`; 127 for zeros."""
    peak = np.abs(groups).max(axis=1) / np.float32(greatest)
    return np.where(peak == 0, 127, np.clip(np.ceil(np.log2(peak)) + 127, 0, 254)).astype(np.uint8)


def to_e4m3(v: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The nearest E4M3 bytes, 448 for all that is greater."""
    return np.clip(v, -448, 448).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)


class MLXFloatFormat(MLXFormat):
    """Codes and scales are small floats; no biases."""

    @classmethod
    def code_values(cls) -> Array:
        """For each byte of `weight` its codes' float32 values, in one item of 4 or 8 bytes."""
        raise TypeError(f"{cls.__name__} defines no code_values")

    @classmethod
    def scale_values(cls) -> NDArray[np.float32]:
        """For each byte of `scales` its value."""
        raise TypeError(f"{cls.__name__} defines no scale_values")

    @classmethod
    def encode(cls, groups: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Codes and scale bytes of float32 `[n, group]`: uint8 `[n, group]` and `[n]`."""
        raise TypeError(f"{cls.__name__} defines no encode")

    @classmethod
    def quantize(cls, w: NDArray[np.float32]) -> PackedTensor:
        """Round to nearest, as `mx.quantize` does with float32."""
        layout = cls.layout(w.shape)
        refuse_nonfinite(cls.name, w)
        groups = np.ascontiguousarray(w, np.float32).reshape(-1, cls.group_size)
        codes, scales = np.empty(groups.shape, np.uint8), np.empty(len(groups), np.uint8)
        step = (1 << 17) // cls.group_size
        with np.errstate(all="ignore"):  # log2 of 0 and division by scales of 0; both are looked after
            for i in range(0, len(groups), step):
                codes[i : i + step], scales[i : i + step] = cls.encode(groups[i : i + step])
        weight = pack(codes.reshape(w.shape), int(cls.bits))
        return PackedTensor(cls, w.shape, {"weight": weight, "scales": scales.reshape(layout["scales"].shape)})

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if {"weight", "scales", "global_scale"} <= set(stored) and stored["weight"].dtype == "uint32":
            raise UnsupportedError("An nvfp4 tensor is stored with a global_scale; localq knows MLX's nvfp4 without.")
        return super().match(quantization, stored)

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        out = np.empty(t.shape, np.float32)
        codes = np.ascontiguousarray(t.parts["weight"]).view(np.uint8).reshape(-1, t.shape[-1] * int(cls.bits) // 8)
        scales = t.parts["scales"].reshape(len(codes), -1)
        flat = out.reshape(len(codes), -1, cls.group_size)
        step = max(1, (1 << 17) // max(t.shape[-1], 1))  # keep a chunk's temporaries inside the CPU's caches
        with np.errstate(all="ignore"):  # the greatest scales overflow float32, in MLX as here
            for i in range(0, len(codes), step):
                rows = slice(i, i + step)
                values = cls.code_values().take(codes[rows]).view(np.float32)
                scale = cls.scale_values().take(scales[rows])
                np.multiply(values.reshape(flat[rows].shape), scale[:, :, None], out=flat[rows])
        return out
