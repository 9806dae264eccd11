"""q1_0: 128 weights in 18 bytes. fp16 d, then 16 bytes of bits; weight = d where the bit is set, else -d.

Bit i of byte j is weight 8j + i. Source: `block_q1_0`, `dequantize_row_q1_0` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.affine_twin import AffineTwin
from localq.formats.arrays import Array, NDArray
from localq.formats.bits import byte_codes, fp16


class Q1_0(
    AffineTwin,
    name="q1_0",
    checked="ggml",
    twin=(1, 128),
    bits=1,
    group_size=128,
    symmetric=True,
    scale="fp16 per 128",
    kernel="q1_0",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        np.copyto(out, byte_codes(1, -1, 2).take(blocks[:, 2:]).view(np.int8))
        out *= fp16(blocks, 0)

    @classmethod
    def affine(cls, blocks: Array) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        d = fp16(blocks, 0)
        bits = np.unpackbits(np.ascontiguousarray(blocks[:, 2:]), axis=1, bitorder="little")
        return bits, d * 2, -d
