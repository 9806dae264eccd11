"""iq3_s: 256 weights in 110 bytes. fp16 d, qs[64], qh[8], signs[32], 4 bytes of 4-bit scales.

A grid vector is 4 weights; vector v has the 9-bit number qs[v] and bit v % 8 of qh[v / 8]. Each byte of signs serves
8 weights, each nibble, low first, is the scale s of 32; weight = d * (1 + 2s) * grid * sign.
Source: `block_iq3_s`, `dequantize_row_iq3_s` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16
from localq.formats.grids import look_up, signs, words


class IQ3_S(
    GGMLFormat,
    name="iq3_s",
    bits=3,
    group_size=32,
    symmetric=True,
    scale="4-bit per 32 x fp16 per 256, codebook of 4",
    kernel="iq3_s",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        ninth = np.unpackbits(np.ascontiguousarray(blocks[:, 66:74]), axis=1, bitorder="little")
        numbers = blocks[:, 2:66] | ninth.astype(np.uint16) << 8
        packed = blocks[:, 106:]
        scales = np.stack([packed & 15, packed >> 4], axis=2).reshape(-1, 8)
        scales = fp16(blocks, 0) * (1 + 2 * scales)
        look_up(words("iq3s").take(numbers), signs().take(blocks[:, 74:106]), scales, out)
