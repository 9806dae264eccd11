"""q4_1: 32 weights in 20 bytes. fp16 scale d, fp16 minimum m, 16 bytes of nibbles; weight = d * nibble + m.

Byte j holds element j in its low nibble and element j + 16 in its high nibble.
Source: `block_q4_1`, `dequantize_row_q4_1` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.affine_twin import AffineTwin
from localq.formats.arrays import Array, NDArray
from localq.formats.base import PackedTensor
from localq.formats.bits import fp16, halves
from localq.formats.rounding import fp16_bytes, in_blocks, join_halves, ranged


class Q4_1(
    AffineTwin,
    name="q4_1",
    twin=(4, 32),
    bits=4,
    group_size=32,
    symmetric=False,
    scale="fp16 and fp16 minimum per 32",
    kernel="q4_1",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        q = blocks[:, 4:]
        out[:, :16] = q & 15
        out[:, 16:] = q >> 4
        out *= fp16(blocks, 0)
        out += fp16(blocks, 2)

    @classmethod
    def affine(cls, blocks: Array) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        d = fp16(blocks, 0)
        return halves(blocks[:, 4:]), d, fp16(blocks, 2)

    @classmethod
    def quantize(cls, w: NDArray[np.float32]) -> PackedTensor:
        return in_blocks(cls, w, _encode)


def _encode(w: NDArray[np.float32]) -> Array:
    d, least, codes = ranged(w, 15)
    return np.concatenate([fp16_bytes(d), fp16_bytes(least), join_halves(codes)], axis=1)
