"""iq2_xs: 256 weights in 74 bytes. fp16 d, 32 uint16, 8 bytes of 4-bit scales.

Each uint16 is a 9-bit grid number and seven sign bits (the eighth makes the count of negatives even), for 8 weights;
each nibble is the scale s of 16 weights, low first; weight = d * (0.5 + s) * 0.25 * grid * sign.
Source: `block_iq2_xs`, `dequantize_row_iq2_xs` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16
from localq.formats.grids import even_signs, half_step_scales, look_up, words


class IQ2_XS(
    GGMLFormat,
    name="iq2_xs",
    bits=2,
    group_size=16,
    symmetric=True,
    scale="4-bit per 16 x fp16 per 256, codebook of 8",
    kernel="iq2_xs",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        q = np.ascontiguousarray(blocks[:, 2:66]).view(np.uint16)
        scales = half_step_scales(fp16(blocks, 0), blocks[:, 66:])
        look_up(words("iq2xs").take(q & 511), even_signs().take(q >> 9), scales, out)
