"""q2_0: 64 weights in 18 bytes. fp16 d, then 16 bytes of two-bit codes; weight = d * (code - 1): -1, 0, 1 or 2.

Bits 2i and 2i + 1 of byte j are weight 4j + i.
Source: `block_q2_0`, `dequantize_row_q2_0` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.affine_twin import AffineTwin
from localq.formats.arrays import Array, NDArray
from localq.formats.bits import byte_codes, fp16


class Q2_0(
    AffineTwin,
    name="q2_0",
    checked="ggml",
    twin=(2, 64),
    bits=2,
    group_size=64,
    symmetric=True,
    scale="fp16 per 64",
    kernel="q2_0",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        np.copyto(out, byte_codes(2, -1, 1).take(blocks[:, 2:]).view(np.int8))
        out *= fp16(blocks, 0)

    @classmethod
    def affine(cls, blocks: Array) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        d = fp16(blocks, 0)
        return byte_codes(2, 0, 1).take(blocks[:, 2:]).view(np.uint8), d, -d
