"""tq1_0: 256 ternary weights in 54 bytes. qs[48], qh[4], fp16 d; weight = d * (trit - 1).

A byte is a fraction of 256 in base three: trit n is the integer part of 3 * ((byte * 3**n) mod 256) / 256. Bytes 0 to
31 give weights 32n + i, bytes 32 to 47 weights 160 + 16n + i (n < 5), qh weights 240 + 4n + i (n < 4).
Source: `block_tq1_0`, `dequantize_row_tq1_0` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16

_RUNS = ((0, 32, 0, 5), (32, 48, 160, 5), (48, 52, 240, 4))  # bytes from, to, first weight, trits a byte


@cache
def trits() -> Array:
    """For every byte its five trits as int8 -1, 0 or 1, and three idle bytes, as one word."""
    fraction = np.arange(256, dtype=np.uint8)
    table = np.zeros((256, 8), np.int8)
    for n in range(5):
        table[:, n] = (fraction.astype(np.int16) * 3 >> 8) - 1
        fraction *= np.uint8(3)
    return table.view(np.uint64)[:, 0]


class TQ1_0(GGMLFormat, name="tq1_0", bits=1.6, group_size=256, symmetric=True, scale="fp16 per 256", kernel="tq1_0"):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        for start, stop, weight, count in _RUNS:
            found = trits().take(blocks[:, start:stop]).view(np.int8).reshape(len(blocks), -1, 8)
            run = out[:, weight : weight + count * (stop - start)].reshape(len(blocks), count, -1)
            run[...] = found[:, :, :count].transpose(0, 2, 1)
        out *= fp16(blocks, 52)
