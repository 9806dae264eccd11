"""q5_k: 256 weights in 176 bytes. fp16 d, fp16 dmin, scales[12], qh[32], qs[128]; d * sc * code - dmin * mn.

As q4_k, with the fifth bit of weight i of group g in bit g of qh[i].
Source: `block_q5_K`, `dequantize_row_q5_K` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.q4_k import scale_groups


class Q5_K(
    GGMLFormat,
    name="q5_k",
    bits=5,
    group_size=32,
    symmetric=False,
    scale="6-bit scale and 6-bit minimum per 32 x fp16 and fp16 per 256",
    kernel="q5_k",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        fifth = np.ascontiguousarray(blocks[:, 16:48])
        q = blocks[:, 48:]
        nibbles = (q & 15).reshape(-1, 4, 32), (q >> 4).reshape(-1, 4, 32)
        groups = out.reshape(-1, 8, 32)
        for g in range(8):
            high = (fifth << (4 - g) if g < 4 else fifth >> (g - 4)) & 16
            groups[:, g] = nibbles[g % 2][:, g // 2] | high
        scale_groups(blocks, out)
