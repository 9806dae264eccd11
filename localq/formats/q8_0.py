"""q8_0: 32 weights in 34 bytes. fp16 scale d, then 32 int8 codes; weight = d * code.

Source: `block_q8_0`, `dequantize_row_q8_0` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.affine_twin import AffineTwin
from localq.formats.arrays import Array, NDArray
from localq.formats.base import PackedTensor
from localq.formats.bits import fp16
from localq.formats.rounding import fp16_bytes, in_blocks, inverse


class Q8_0(
    AffineTwin, name="q8_0", twin=(8, 32), bits=8, group_size=32, symmetric=True, scale="fp16 per 32", kernel="q8_0"
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        np.copyto(out, blocks[:, 2:].view(np.int8))
        out *= fp16(blocks, 0)

    @classmethod
    def affine(cls, blocks: Array) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        d = fp16(blocks, 0)
        return blocks[:, 2:] ^ np.uint8(128), d, d * -128

    @classmethod
    def quantize(cls, w: NDArray[np.float32]) -> PackedTensor:
        return in_blocks(cls, w, _encode)


def _encode(w: NDArray[np.float32]) -> Array:
    d = np.abs(w).max(axis=1, keepdims=True) / np.float32(127)
    scaled = w * inverse(d)
    whole = np.trunc(scaled)
    whole += np.trunc(2 * (scaled - whole))  # C's roundf: halves away from zero
    return np.concatenate([fp16_bytes(d), whole.astype(np.int8).view(np.uint8)], axis=1)
