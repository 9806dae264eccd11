"""q4_k: 256 weights in 144 bytes. fp16 d, fp16 dmin, scales[12], qs[128]; weight = d * sc * nibble - dmin * mn.

Eight groups of 32; groups 2p and 2p + 1 are the low and the high nibbles of qs[32p .. 32p + 31]. The six-bit scales
and minima of groups 0 to 3 are the low six bits of bytes 0-3 and 4-7; those of groups 4 to 7 have their low four
bits in the low and high nibbles of bytes 8-11 and their two high bits on top of bytes 0-3 and 4-7.
Source: `block_q4_K`, `get_scale_min_k4`, `dequantize_row_q4_K` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16, per_weight


def scales_and_minima(packed: Array) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`[n, 12]` bytes to eight six-bit scales and eight six-bit minima, each `[n, 8]`."""
    a, b, c = packed[:, :4], packed[:, 4:8], packed[:, 8:12]
    scales = np.concatenate([a & 63, (c & 15) | (a >> 6 << 4)], axis=1)
    minima = np.concatenate([b & 63, (c >> 4) | (b >> 6 << 4)], axis=1)
    return scales, minima


def scale_groups(blocks: Array, out: NDArray[np.float32]) -> None:
    """Turn the codes in `out` into weights, in place: the first 16 bytes of q4_k and q5_k blocks are the same."""
    scales, minima = scales_and_minima(blocks[:, 4:16])
    out *= per_weight(fp16(blocks, 0) * scales, 256)
    out -= per_weight(fp16(blocks, 2) * minima, 256)


class Q4_K(
    GGMLFormat,
    name="q4_k",
    bits=4,
    group_size=32,
    symmetric=False,
    scale="6-bit scale and 6-bit minimum per 32 x fp16 and fp16 per 256",
    kernel="q4_k",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        q = blocks[:, 16:]
        pairs = out.reshape(-1, 4, 2, 32)
        pairs[:, :, 0] = (q & 15).reshape(-1, 4, 32)
        pairs[:, :, 1] = (q >> 4).reshape(-1, 4, 32)
        scale_groups(blocks, out)
