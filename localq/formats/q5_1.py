"""q5_1: 32 weights in 24 bytes. fp16 scale d, fp16 minimum m, uint32 of fifth bits, 16 nibble bytes; d * code + m.

Codes are laid out as in q5_0. Source: `block_q5_1`, `dequantize_row_q5_1` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.affine_twin import AffineTwin
from localq.formats.arrays import Array, NDArray
from localq.formats.base import PackedTensor
from localq.formats.bits import fp16
from localq.formats.q5_0 import codes, fifth_bits
from localq.formats.rounding import fp16_bytes, in_blocks, join_halves, ranged


class Q5_1(
    AffineTwin,
    name="q5_1",
    twin=(5, 32),
    bits=5,
    group_size=32,
    symmetric=False,
    scale="fp16 and fp16 minimum per 32",
    kernel="q5_1",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        np.copyto(out, codes(blocks, 4))
        out *= fp16(blocks, 0)
        out += fp16(blocks, 2)

    @classmethod
    def affine(cls, blocks: Array) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        d = fp16(blocks, 0)
        return codes(blocks, 4), d, fp16(blocks, 2)

    @classmethod
    def quantize(cls, w: NDArray[np.float32]) -> PackedTensor:
        return in_blocks(cls, w, _encode)


def _encode(w: NDArray[np.float32]) -> Array:
    d, least, five = ranged(w, 31)
    return np.concatenate([fp16_bytes(d), fp16_bytes(least), fifth_bits(five), join_halves(five)], axis=1)
