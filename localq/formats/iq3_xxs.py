"""iq3_xxs: 256 weights in 98 bytes. fp16 d, 64 grid numbers (bytes), 8 uint32.

A grid vector is 4 weights. The uint32 of each 32 weights holds four times seven sign bits (the eighth makes the
count of negatives even) and, on top, a 4-bit scale s; weight = d * (0.5 + s) * 0.5 * grid * sign.
Source: `block_iq3_xxs`, `dequantize_row_iq3_xxs` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16
from localq.formats.grids import even_signs, look_up, words


class IQ3_XXS(
    GGMLFormat,
    name="iq3_xxs",
    bits=3,
    group_size=32,
    symmetric=True,
    scale="4-bit per 32 x fp16 per 256, codebook of 4",
    kernel="iq3_xxs",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        upper = np.ascontiguousarray(blocks[:, 66:]).view(np.uint32)
        negative = (upper[:, :, None] >> np.array([0, 7, 14, 21], np.uint32)) & 127
        scales = fp16(blocks, 0) * (np.float32(0.5) + (upper >> 28)) * np.float32(0.5)
        look_up(words("iq3xxs").take(blocks[:, 2:66]), even_signs().take(negative), scales.astype(np.float32), out)
