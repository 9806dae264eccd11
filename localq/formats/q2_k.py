"""q2_k: 256 weights in 84 bytes. scales[16], qs[64], fp16 d, fp16 dmin; d * (sc & 15) * code - dmin * (sc >> 4).

Sixteen groups of 16 weights. Bits 2k and 2k + 1 of bytes 32h to 32h + 31 are weights 128h + 32k to 128h + 32k + 31.
Source: `block_q2_K`, `dequantize_row_q2_K` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16, per_weight, two_bit_planes


class Q2_K(
    GGMLFormat,
    name="q2_k",
    bits=2,
    group_size=16,
    symmetric=False,
    scale="4-bit scale and 4-bit minimum per 16 x fp16 and fp16 per 256",
    kernel="q2_k",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        sc = blocks[:, :16]
        for k, plane in enumerate(two_bit_planes(blocks[:, 16:80])):
            out.reshape(-1, 2, 4, 32)[:, :, k] = plane.reshape(-1, 2, 32)
        out *= per_weight(fp16(blocks, 80) * (sc & 15), 256)
        out -= per_weight(fp16(blocks, 82) * (sc >> 4), 256)
