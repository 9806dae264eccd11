"""q5_0: 32 weights in 22 bytes. fp16 scale d, uint32 of fifth bits, 16 bytes of nibbles; weight = d * (code - 16).

Byte j holds the low four bits of element j (low nibble) and j + 16 (high nibble); bit j of the uint32 is the fifth
bit of element j. Source: `block_q5_0`, `dequantize_row_q5_0` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.affine_twin import AffineTwin
from localq.formats.arrays import Array, NDArray
from localq.formats.base import PackedTensor
from localq.formats.bits import byte_codes, fp16
from localq.formats.rounding import fp16_bytes, in_blocks, join_halves, symmetric

_LOW = np.uint64(0x0F0F0F0F0F0F0F0F)  # eight nibbles at a time


def codes(blocks: Array, at: int) -> NDArray[np.uint8]:
    """Five-bit codes `[n, 32]` of blocks whose fifth bits start at byte `at`, the nibbles four bytes later."""
    nibbles = np.ascontiguousarray(blocks[:, at + 4 :]).view(np.uint64)
    q: NDArray[np.uint64] = np.concatenate([nibbles & _LOW, nibbles >> np.uint64(4) & _LOW], axis=1)
    q |= byte_codes(1, 0, 16).take(blocks[:, at : at + 4])
    return q.view(np.uint8)


def fifth_bits(five: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bit 4 of codes `[n, 32]` as four bytes."""
    return np.packbits(five >> np.uint8(4), axis=1, bitorder="little")


class Q5_0(
    AffineTwin, name="q5_0", twin=(5, 32), bits=5, group_size=32, symmetric=True, scale="fp16 per 32", kernel="q5_0"
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        np.copyto(out, codes(blocks, 2).view(np.int8) - np.int8(16))
        out *= fp16(blocks, 0)

    @classmethod
    def affine(cls, blocks: Array) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        d = fp16(blocks, 0)
        return codes(blocks, 2), d, d * -16

    @classmethod
    def quantize(cls, w: NDArray[np.float32]) -> PackedTensor:
        return in_blocks(cls, w, _encode)


def _encode(w: NDArray[np.float32]) -> Array:
    d, five = symmetric(w, 16)
    return np.concatenate([fp16_bytes(d), fifth_bits(five), join_halves(five)], axis=1)
