"""q8_0: 32 weights in 34 bytes. fp16 scale d, then 32 int8 codes; weight = d * code.

Source: `block_q8_0`, `dequantize_row_q8_0` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from localq.formats.base import Array, GGMLFormat
from localq.formats.bits import fp16


class Q8_0(GGMLFormat, name="q8_0", bits=8, group_size=32, symmetric=True, scale="fp16 per 32"):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        np.copyto(out, blocks[:, 2:].view(np.int8))
        out *= fp16(blocks, 0)
