"""iq1_s: 256 weights in 50 bytes. fp16 d, qs[32], 8 uint16 qh.

Vector v of 8 weights has the 11-bit grid number qs[v] and three bits at 3 * (v % 4) of qh[v / 4]. Bits 12 to 14 of qh
are the scale s of 32 weights, bit 15 the sign of their shift; weight = d * (2s + 1) * (grid +- 0.125).
Source: `block_iq1_s`, `dequantize_row_iq1_s` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16
from localq.formats.grids import grid, look_up


@cache
def shifted_words() -> NDArray[np.uint64]:
    """8 * grid + 1, then 8 * grid - 1, each vector of int8 a word: shifted weights in eighths, numbers of 12 bits."""
    eighths = 8 * grid("iq1s")
    return np.concatenate([eighths + 1, eighths - 1]).astype(np.int8).view(np.uint64)[:, 0]


class IQ1_S(
    GGMLFormat,
    name="iq1_s",
    bits=1,
    group_size=32,
    symmetric=False,
    scale="3-bit scale and sign of shift per 32 x fp16 per 256, codebook of 8",
    kernel="iq1_s",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        qh = np.ascontiguousarray(blocks[:, 34:]).view(np.uint16)
        high = ((qh[:, :, None] >> np.array([0, 3, 6, 9], np.uint16)) & 7) | (qh >> 15 << 3)[:, :, None]
        numbers = blocks[:, 2:34] | high.reshape(-1, 32) << 8
        scales = fp16(blocks, 0) * ((qh >> 12 & 7) * 2 + 1) * np.float32(0.125)
        look_up(shifted_words().take(numbers), None, scales.astype(np.float32), out)
