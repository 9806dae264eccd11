"""q6_k: 256 weights in 210 bytes. ql[128], qh[64], int8 scales[16], fp16 d; weight = d * sc * (code - 32).

Sixteen groups of 16. In half h, run r of 32 weights takes its low four bits from nibble r / 2 of
ql[64h + 32 * (r % 2) ..] and its two high bits from bits 2r of qh[32h ..].
Source: `block_q6_K`, `dequantize_row_q6_K` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16, per_weight, two_bit_planes


class Q6_K(
    GGMLFormat,
    name="q6_k",
    bits=6,
    group_size=16,
    symmetric=True,
    scale="int8 per 16 x fp16 per 256",
    kernel="q6_k",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        ql = blocks[:, :128]
        nibbles = (ql & 15).reshape(-1, 2, 2, 32), (ql >> 4).reshape(-1, 2, 2, 32)
        runs = out.reshape(-1, 2, 4, 32)
        for r, high in enumerate(two_bit_planes(blocks[:, 128:192])):
            code = (high << 4).reshape(-1, 2, 32)
            code |= nibbles[r // 2][:, :, r % 2]
            runs[:, :, r] = code.view(np.int8) - np.int8(32)
        out *= per_weight(fp16(blocks, 208) * blocks[:, 192:208].view(np.int8), 256)
