"""mxfp4_ggml: 32 weights in 17 bytes. E8M0 exponent e, then 16 bytes of E2M1 nibbles; 2**(e - 127) * E2M1.

Byte j holds element j in its low nibble and element j + 16 in its high nibble. ggml keeps doubled E2M1
values (`LEVELS`) and half of the scale; e = 255 is 2**128 to it, not NaN. Source: `block_mxfp4`, `kvalues_fp4`,
`ggml_e8m0_to_fp32_half` (ggml-common.h, ggml-impl.h), `dequantize_row_mxfp4` (ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat, Native, PackedTensor
from localq.formats.bits import halves, pack
from localq.formats.rounding import in_blocks, join_halves, nearest_e2m1

LEVELS = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int8)


class MXFP4_GGML(
    GGMLFormat,
    name="mxfp4_ggml",
    bits=4,
    group_size=32,
    symmetric=True,
    scale="E8M0 (power of two) per 32",
    kernel="mxfp4_ggml",
    same_size=True,
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        q = blocks[:, 1:]
        out[:, :16] = LEVELS.take(q & 15)
        out[:, 16:] = LEVELS.take(q >> 4)
        out *= np.ldexp(np.float32(1), blocks[:, :1].astype(np.int32) - 128)

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """MLX's mxfp4, nibbles in its order; None where a scale byte is 255, 2**128 to ggml and infinite to MLX."""
        blocks = t.parts["weight"].reshape(-1, 17)
        scales = blocks[:, 0]
        if (scales == 255).any():
            return None
        rows = t.shape[:-1]
        words = pack(halves(blocks[:, 1:]), 4)
        return Native("mxfp4", 4, 32, words.reshape(*rows, -1), scales.reshape(*rows, -1))

    @classmethod
    def quantize(cls, w: NDArray[np.float32]) -> PackedTensor:
        return in_blocks(cls, w, _encode)


def _encode(w: NDArray[np.float32]) -> Array:
    peak = np.abs(w).max(axis=1, keepdims=True)
    exponent = np.where(peak > 0, np.clip(np.floor(np.log2(peak)) + 125, 0, 254), 0).astype(np.uint8)
    codes = nearest_e2m1(np.ldexp(w, 127 - exponent.astype(np.int32)))
    return np.concatenate([exponent, join_halves(codes)], axis=1)
