"""tq2_0: 256 ternary weights in 66 bytes. qs[64], fp16 d; weight = d * (code - 1), codes of two bits.

Bits 2k and 2k + 1 of bytes 32h to 32h + 31 are weights 128h + 32k to 128h + 32k + 31. A code of 3 (weight 2d) is
valid though no quantiser writes it.
Source: `block_tq2_0`, `dequantize_row_tq2_0` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from localq.formats.base import Array, GGMLFormat
from localq.formats.bits import fp16, two_bit_planes


class TQ2_0(GGMLFormat, name="tq2_0", bits=2, group_size=256, symmetric=True, scale="fp16 per 256"):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        runs = out.reshape(-1, 2, 4, 32)
        for k, plane in enumerate(two_bit_planes(blocks[:, :64])):
            runs[:, :, k] = (plane.view(np.int8) - np.int8(1)).reshape(-1, 2, 32)
        out *= fp16(blocks, 64)
