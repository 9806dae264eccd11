"""q4_0: 32 weights in 18 bytes. fp16 scale d, then 16 bytes of nibbles; weight = d * (nibble - 8).

Byte j holds element j in its low nibble and element j + 16 in its high nibble.
Source: `block_q4_0`, `dequantize_row_q4_0` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from localq.formats.base import Array, GGMLFormat


class Q4_0(GGMLFormat, name="q4_0", bits=4, group_size=32, symmetric=True, scale="fp16 per 32"):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        d = blocks[:, :2].view(np.float16).astype(np.float32)
        q = blocks[:, 2:]
        np.multiply((q & 15).astype(np.int8) - np.int8(8), d, out=out[:, :16])
        np.multiply((q >> 4).astype(np.int8) - np.int8(8), d, out=out[:, 16:])
