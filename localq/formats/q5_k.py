"""q5_k: 256 weights in 176 bytes. fp16 d, fp16 dmin, scales[12], qh[32], qs[128]; d * sc * code - dmin * mn.

As q4_k, with the fifth bit of weight i of group g in bit g of qh[i].
Source: `block_q5_K`, `dequantize_row_q5_K` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from localq.formats.base import Array, GGMLFormat
from localq.formats.q4_k import scale_groups


class Q5_K(
    GGMLFormat,
    name="q5_k",
    bits=5,
    group_size=32,
    symmetric=False,
    scale="6-bit scale and 6-bit minimum per 32 x fp16 and fp16 per 256",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        fifth = np.ascontiguousarray(blocks[:, 16:48])
        q = blocks[:, 48:]
        groups = out.reshape(-1, 8, 32)
        for g in range(0, 8, 2):
            pair = q[:, 16 * g : 16 * g + 32]
            groups[:, g] = (pair & 15) | (fifth >> g & 1) << 4
            groups[:, g + 1] = (pair >> 4) | (fifth >> (g + 1) & 1) << 4
        scale_groups(blocks, out)
