"""Packed rows to try kernels with, and gguf-py's reading of them."""

from __future__ import annotations

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from localq.formats import FORMATS
from localq.formats.base import PackedTensor
from localq.kernels.checks import random_tensor

STEMS = {fmt.kernel: fmt for fmt in FORMATS.values() if fmt.kernel}
SCALES = {  # where a block's fp16 scales lie
    "q2_k": (80, 82),
    "q3_k": (108,),
    "q4_k": (0, 2),
    "q5_k": (0, 2),
    "q6_k": (208,),
    "iq4_xs": (0,),
}


def ordinary(stem: str, shape: tuple[int, int], seed: int = 0) -> PackedTensor:
    """Random codes; scales such that weights lie between 1e-6 and 1e4."""
    return random_tensor(STEMS[stem], shape, np.random.default_rng(seed))


def with_scale(stem: str, shape: tuple[int, int], scale: float) -> PackedTensor:
    """Random codes under one fp16 scale: the largest, the smallest subnormal, zero, infinity."""
    t = ordinary(stem, shape, seed=1)
    blocks = t.parts["weight"].copy().reshape(-1, STEMS[stem].block_bytes)
    for at in SCALES[stem]:
        blocks[:, at : at + 2] = np.array([scale], np.float16).view(np.uint8)
    return PackedTensor(t.format, shape, {"weight": blocks.reshape(shape[0], -1)})


def every_kind(stem: str, columns: int) -> PackedTensor:
    """21 rows, no multiple of anything: ordinary ones, zeros, extreme scales of both signs, plain noise."""
    kinds = [ordinary(stem, (11, columns))]
    kinds += [with_scale(stem, (1, columns), s) for s in (65504, -65504, 6e-8, -6e-8, 6e-5, 0.0)]
    parts = [t.parts["weight"] for t in kinds]
    width = parts[0].shape[1]
    noise = np.random.default_rng(2).integers(0, 256, (3, width), np.uint8)
    return PackedTensor(
        STEMS[stem], (21, columns), {"weight": np.concatenate([*parts, np.zeros((1, width), np.uint8), noise])}
    )


def oracle(t: PackedTensor) -> np.ndarray:
    """float32 weights as gguf-py decodes them."""
    with np.errstate(all="ignore"):  # noise has scales that are inf or NaN
        return dequantize(t.parts["weight"], GGMLQuantizationType[t.format.name.upper()]).reshape(t.shape)
