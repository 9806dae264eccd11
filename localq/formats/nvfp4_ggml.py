"""nvfp4_ggml: 64 weights in 36 bytes. Four UE4M3 scales d, one per 16, then 32 bytes of E2M1 nibbles.

Byte j of a group's eight holds element j in its low nibble and element j + 8 in its high nibble. A scale byte is E4M3
whose sign bit is ignored; 0 and 127 are zero, 255 is 480. GGUF keeps one more float32 per matrix in a tensor of
its own, `<name>.scale`: the part `scale`, ones where the file has none; weight = scale * d * E2M1.
Source: `block_nvfp4`, `ggml_ue4m3_to_fp32` (ggml-common.h, ggml-impl.h), `dequantize_row_nvfp4` (ggml-quants.c).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat, Native, PackedTensor, Part
from localq.formats.bits import halves, pack, per_weight
from localq.formats.mxfp4_ggml import LEVELS


@cache
def scale_values() -> NDArray[np.float32]:
    """Half of each scale byte's value, for E2M1 values that are doubled."""
    byte = np.arange(256, dtype=np.int32)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    whole = np.where(exponent > 0, mantissa + 8, mantissa).astype(np.float32)
    values: NDArray[np.float32] = np.ldexp(whole, np.maximum(exponent, 1) - 11).astype(np.float32)
    values[[0, 127]] = 0
    return values


class NVFP4_GGML(
    GGMLFormat,
    name="nvfp4_ggml",
    bits=4,
    group_size=16,
    symmetric=True,
    scale="UE4M3 per 16 x float32 per matrix",
    kernel="nvfp4_ggml",
    same_size=True,
):
    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {**super().layout(shape), "scale": Part("float32", shape[:-2])}

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        out = super().dequantize(t)
        with np.errstate(all="ignore"):
            out *= t.parts["scale"].reshape(*t.shape[:-2], *(1,) * min(2, len(t.shape)))
        return out

    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        q = blocks[:, 4:]
        halves = out.reshape(-1, 4, 2, 8)
        halves[:, :, 0] = LEVELS.take(q & 15).reshape(-1, 4, 8)
        halves[:, :, 1] = LEVELS.take(q >> 4).reshape(-1, 4, 8)
        out *= per_weight(scale_values().take(blocks[:, :4]), 64)

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """MLX's nvfp4, nibbles in its order, `scale` as multiplier; None where a scale byte is 255, NaN to MLX.

        A scale byte of 127, NaN to MLX too, becomes 0, which it is to ggml.
        """
        blocks = t.parts["weight"].reshape(-1, 36)
        if (blocks[:, :4] == 255).any():
            return None
        scales = blocks[:, :4] & np.uint8(127)
        scales[scales == 127] = 0
        words = pack(halves(blocks[:, 4:].reshape(-1, 4, 8)).reshape(-1, 64), 4)
        rows, second = t.shape[:-1], t.parts["scale"]
        multiplier = None if (second == 1).all() else second
        return Native("nvfp4", 4, 16, words.reshape(*rows, -1), scales.reshape(*rows, -1), multiplier=multiplier)
