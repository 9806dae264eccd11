"""iq4_nl: 32 weights in 18 bytes. fp16 scale d, then 16 bytes of nibbles; weight = d * LEVELS[nibble].

Byte j holds element j in its low nibble and element j + 16 in its high nibble.
Source: `block_iq4_nl`, `kvalues_iq4nl`, `dequantize_row_iq4_nl` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16

LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int8)


class IQ4_NL(
    GGMLFormat,
    name="iq4_nl",
    bits=4,
    group_size=32,
    symmetric=True,
    scale="fp16 per 32, 16 fixed levels",
    kernel="iq4_nl",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        q = blocks[:, 2:]
        out[:, :16] = LEVELS.take(q & 15)
        out[:, 16:] = LEVELS.take(q >> 4)
        out *= fp16(blocks, 0)
