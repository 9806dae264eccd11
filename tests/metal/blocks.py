"""Packed rows to try kernels with, and gguf-py's reading of them (ggml's, of the two types that gguf-py has not)."""

from __future__ import annotations

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from localq.formats import FORMATS
from localq.formats.base import GGMLFormat, PackedTensor
from localq.kernels import arrays
from localq.kernels.checks import random_tensor
from localq_metal.source import Packed
from tests.factories import ggml
from tests.formats.blocks import HALF_AT

STEMS = {fmt.kernel: fmt for fmt in FORMATS.values() if fmt.kernel and issubclass(fmt, GGMLFormat)}
CODES_AT = {  # formats with a minimum beside the scale
    "q4_1": slice(4, 20),
    "q5_1": slice(4, 24),
    "q2_k": slice(16, 80),
    "q4_k": slice(16, 144),
    "q5_k": slice(16, 176),
}
# Every stem in float32; in half precision, where only the store differs, a third of them each, the others marked slow.
IN_EVERY_DTYPE = [
    pytest.param(stem, dtype, marks=() if dtype == mx.float32 or at % 3 == turn else pytest.mark.slow)
    for turn, dtype in enumerate((mx.float32, mx.float16, mx.bfloat16))
    for at, stem in enumerate(sorted(STEMS))
]
_POWERS = (0, 1, 2, 3, 253, 254)  # stored exponents at either end
NOT_IN_GGUF_PY = ("q1_0", "q2_0")


def ordinary(stem: str, shape: tuple[int, int], seed: int = 0) -> PackedTensor:
    """Random codes; scales such that weights lie between 1e-6 and 1e4."""
    return random_tensor(STEMS[stem], shape, np.random.default_rng(seed))


def with_scale(stem: str, shape: tuple[int, int], scale: float) -> PackedTensor:
    """Random codes under one scale: of fp16 the largest, the smallest subnormal, zero, infinity."""
    t = ordinary(stem, shape, seed=1)
    blocks = t.parts["weight"].copy().reshape(-1, STEMS[stem].block_bytes)
    set_scale(stem, blocks, scale)
    return PackedTensor(t.format, shape, {**t.parts, "weight": blocks.reshape(shape[0], -1)})


def set_scale(stem: str, blocks: np.ndarray, scale: float) -> None:
    """Give every block this scale and minimum.

    Formats whose scales are bytes get the power of two below it, or the nearest they have.
    """
    if stem == "mxfp4_ggml":
        blocks[:, 0] = 127 + np.floor(np.log2(abs(scale or 1)))
        blocks[:, 1:] *= np.uint8(scale != 0)
    elif stem == "nvfp4_ggml":
        blocks[:, :4] = np.array(min(abs(scale), 448), ml_dtypes.float8_e4m3fn).view(np.uint8)
    elif stem == "iq1_m":
        d = np.array(scale, np.float16).view(np.uint16) >> np.array([0, 4, 8, 12], np.uint16)
        words = blocks[:, 48:].view(np.uint16)
        words[:] = (words & 0x0FFF) | (d << 12)
    else:
        for at in HALF_AT[stem]:
            blocks[:, at : at + 2] = np.array([scale], np.float16).view(np.uint8)


def every_kind(stem: str, columns: int) -> PackedTensor:
    """21 rows, no multiple of anything: ordinary ones, zeros, extreme scales of both signs, plain noise."""
    kinds = [ordinary(stem, (11, columns))]
    kinds += [with_scale(stem, (1, columns), s) for s in (65504, -65504, 6e-8, -6e-8, 6e-5, 0.0)]
    parts = [t.parts["weight"] for t in kinds]
    width = parts[0].shape[1]
    noise = np.random.default_rng(2).integers(0, 256, (3, width), np.uint8)
    if stem == "mxfp4_ggml":
        noise[0, : 17 * len(_POWERS) : 17] = _POWERS
    blocks = np.concatenate([*parts, np.zeros((1, width), np.uint8), noise])
    return PackedTensor(STEMS[stem], (21, columns), {**kinds[0].parts, "weight": blocks})


def oracle(t: PackedTensor) -> np.ndarray:
    """float32 weights as gguf-py decodes them."""
    name = t.format.name.removesuffix("_ggml")
    with np.errstate(all="ignore"):  # noise has scales that are inf or NaN
        if name in NOT_IN_GGUF_PY:
            if not ggml.available():
                pytest.skip("needs llama-cpp-python (extra `llama`): gguf-py does not decode this type")
            return ggml.dequantize(t.parts["weight"], name).reshape(t.shape)
        w: np.ndarray = dequantize(t.parts["weight"], GGMLQuantizationType[name.upper()]).reshape(t.shape)
        return w * t.parts["scale"] if "scale" in t.parts else w  # nvfp4's second one; gguf-py leaves it to others


def minima(t: PackedTensor) -> np.ndarray | float:
    """What every weight has added to its scaled code: the weights where all codes are 0."""
    codes = CODES_AT.get(t.format.name)
    if codes is None:
        return 0.0
    blocks = t.parts["weight"].copy().reshape(-1, t.format.block_bytes)  # type: ignore[attr-defined]
    blocks[:, codes] = 0
    return oracle(PackedTensor(t.format, t.shape, {"weight": blocks.reshape(t.shape[0], -1)}))


def packed(*tensors: PackedTensor) -> Packed:
    """One matrix, or a stack of several, as kernels want it."""
    each = [one for t in tensors if (one := arrays.inputs(t)) is not None]
    assert len(each) == len(tensors)
    stack = (len(tensors),) if len(tensors) > 1 else ()
    return arrays.packed(each, (*stack, *tensors[0].shape))
