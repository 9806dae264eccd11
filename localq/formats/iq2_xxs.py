"""iq2_xxs: 256 weights in 66 bytes. fp16 d, then per 32 weights four grid numbers (bytes) and a uint32.

The uint32 holds four times seven sign bits (the eighth makes the count of negatives even) and, on top, a 4-bit scale
s; weight = d * (0.5 + s) * 0.25 * grid * sign, grid vectors of 8.
Source: `block_iq2_xxs`, `dequantize_row_iq2_xxs` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16
from localq.formats.grids import even_signs, look_up, words


class IQ2_XXS(
    GGMLFormat,
    name="iq2_xxs",
    bits=2,
    group_size=32,
    symmetric=True,
    scale="4-bit per 32 x fp16 per 256, codebook of 8",
    kernel="iq2_xxs",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        runs = np.ascontiguousarray(blocks[:, 2:])
        upper = runs.view(np.uint32)[:, 1::2]
        numbers = runs.reshape(-1, 8, 8)[:, :, :4]
        negative = (upper[:, :, None] >> np.array([0, 7, 14, 21], np.uint32)) & 127
        scales = fp16(blocks, 0) * (np.float32(0.5) + (upper >> 28)) * np.float32(0.25)
        look_up(words("iq2xxs").take(numbers), even_signs().take(negative), scales.astype(np.float32), out)
