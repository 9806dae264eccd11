"""q4_0: 32 weights in 18 bytes. fp16 scale d, then 16 bytes of nibbles; weight = d * (nibble - 8).

Byte j holds element j in its low nibble and element j + 16 in its high nibble.
Source: `block_q4_0`, `dequantize_row_q4_0` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.affine_twin import AffineTwin
from localq.formats.arrays import Array, NDArray
from localq.formats.base import PackedTensor
from localq.formats.bits import fp16, halves
from localq.formats.rounding import fp16_bytes, in_blocks, join_halves, symmetric


class Q4_0(
    AffineTwin, name="q4_0", twin=(4, 32), bits=4, group_size=32, symmetric=True, scale="fp16 per 32", kernel="q4_0"
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        q = blocks[:, 2:]
        out[:, :16] = (q & 15).view(np.int8) - np.int8(8)
        out[:, 16:] = (q >> 4).view(np.int8) - np.int8(8)
        out *= fp16(blocks, 0)

    @classmethod
    def affine(cls, blocks: Array) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        d = fp16(blocks, 0)
        return halves(blocks[:, 2:]), d, d * -8

    @classmethod
    def quantize(cls, w: NDArray[np.float32]) -> PackedTensor:
        return in_blocks(cls, w, _encode)


def _encode(w: NDArray[np.float32]) -> Array:
    d, codes = symmetric(w, 8)
    return np.concatenate([fp16_bytes(d), join_halves(codes)], axis=1)
