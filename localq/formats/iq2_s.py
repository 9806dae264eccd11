"""iq2_s: 256 weights in 82 bytes. fp16 d, qs[32], signs[32], qh[8], 8 bytes of 4-bit scales.

Vector v of 8 weights has the 10-bit grid number qs[v] and bits 2 * (v % 4) of qh[v / 4], and a byte of signs; each
nibble is the scale s of 16 weights, low first; weight = d * (0.5 + s) * 0.25 * grid * sign.
Source: `block_iq2_s`, `dequantize_row_iq2_s` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16
from localq.formats.grids import half_step_scales, look_up, signs, words


class IQ2_S(
    GGMLFormat,
    name="iq2_s",
    bits=2,
    group_size=16,
    symmetric=True,
    scale="4-bit per 16 x fp16 per 256, codebook of 8",
    kernel="iq2_s",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        high = (blocks[:, 66:74, None] >> np.array([0, 2, 4, 6], np.uint8)) & 3
        numbers = blocks[:, 2:34] | high.reshape(-1, 32).astype(np.uint16) << 8
        scales = half_step_scales(fp16(blocks, 0), blocks[:, 74:])
        look_up(words("iq2s").take(numbers), signs().take(blocks[:, 34:66]), scales, out)
