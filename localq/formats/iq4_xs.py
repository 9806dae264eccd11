"""iq4_xs: 256 weights in 136 bytes. fp16 d, uint16 of high scale bits, 4 bytes of low scale bits, qs[128].

Eight groups of 32 with six-bit scales s: four low bits in nibble g of the four bytes, two high bits at 2g of the
uint16. Group g has nibbles as iq4_nl; weight = d * (s - 32) * LEVELS[nibble].
Source: `block_iq4_xs`, `dequantize_row_iq4_xs` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16, per_weight
from localq.formats.iq4_nl import LEVELS


class IQ4_XS(
    GGMLFormat,
    name="iq4_xs",
    bits=4,
    group_size=32,
    symmetric=True,
    scale="6-bit per 32 x fp16 per 256, 16 fixed levels",
    kernel="iq4_xs",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        q = blocks[:, 8:]
        halves = out.reshape(-1, 8, 2, 16)
        halves[:, :, 0] = LEVELS.take(q & 15).reshape(-1, 8, 16)
        halves[:, :, 1] = LEVELS.take(q >> 4).reshape(-1, 8, 16)
        low = np.stack([blocks[:, 4:8] & 15, blocks[:, 4:8] >> 4], axis=2).reshape(-1, 8)
        high = np.ascontiguousarray(blocks[:, 2:4]).view(np.uint16) >> np.arange(0, 16, 2, dtype=np.uint16) & 3
        scales = (low | high << 4).astype(np.int8) - np.int8(32)
        out *= per_weight(fp16(blocks, 0) * scales, 256)
