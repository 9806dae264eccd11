"""iq1_m: 256 weights in 56 bytes. qs[32], qh[16], 4 uint16 scales.

Vector v of 8 weights has the 11-bit grid number qs[v] and three bits of nibble v of qh, whose fourth bit is the sign
of its shift. Each uint16 holds four 3-bit scales s, of 16 weights each, and on top four bits of the block's fp16 d,
lowest bits first; weight = d * (2s + 1) * (grid +- 0.125).
Source: `block_iq1_m`, `dequantize_row_iq1_m` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.grids import look_up
from localq.formats.iq1_s import shifted_words


class IQ1_M(
    GGMLFormat,
    name="iq1_m",
    bits=1,
    group_size=16,
    symmetric=False,
    scale="3-bit per 16 x fp16 per 256, sign of shift per 8, codebook of 8",
    kernel="iq1_m",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        qh = blocks[:, 32:48]
        high = np.stack([qh & 15, qh >> 4], axis=2).reshape(-1, 32)
        numbers = blocks[:, :32] | high.astype(np.uint16) << 8
        packed = np.ascontiguousarray(blocks[:, 48:]).view(np.uint16)
        quarters = packed >> 12 << np.array([0, 4, 8, 12], np.uint16)
        d = np.bitwise_or.reduce(quarters, axis=1, keepdims=True).view(np.float16).astype(np.float32)
        s = (packed[:, :, None] >> np.array([0, 3, 6, 9], np.uint16) & 7).reshape(-1, 16)
        scales = d * (2 * s + 1) * np.float32(0.125)
        look_up(shifted_words().take(numbers), None, scales.astype(np.float32), out)
