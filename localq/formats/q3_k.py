"""q3_k: 256 weights in 110 bytes. hmask[32], qs[64], scales[12], fp16 d; weight = d * (s - 32) * (code - 4).

Sixteen groups of 16. The two low bits of a code lie in qs as in q2_k; its third bit is bit g / 2 of
hmask[16 * (g & 1) + i]. Six-bit scales: four low bits in nibble g / 8 of scales[g % 8], two high bits at
2 * (g / 4) of scales[8 + g % 4]. Source: `block_q3_K`, `dequantize_row_q3_K` (ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat
from localq.formats.bits import fp16, per_weight, two_bit_planes


def six_bit_scales(packed: Array) -> NDArray[np.int8]:
    """`[n, 12]` bytes to sixteen scales `[n, 16]`, -32 to 31."""
    low = np.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], axis=1)
    high = np.concatenate(two_bit_planes(packed[:, 8:]), axis=1)
    scales: NDArray[np.int8] = (low | high << 4).view(np.int8)
    scales -= np.int8(32)
    return scales


class Q3_K(
    GGMLFormat, name="q3_k", bits=3, group_size=16, symmetric=True, scale="6-bit per 16 x fp16 per 256", kernel="q3_k"
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        codes = np.empty((len(blocks), 2, 4, 32), np.uint8)
        for k, low in enumerate(two_bit_planes(np.ascontiguousarray(blocks[:, 32:96]))):
            codes[:, :, k] = low.reshape(-1, 2, 32)
        third = np.ascontiguousarray(blocks[:, :32])
        for g in range(8):
            codes.reshape(-1, 8, 32)[:, g] |= (third << (2 - g) if g < 2 else third >> (g - 2)) & 4
        np.copyto(out, codes.reshape(out.shape).view(np.int8) - np.int8(4))
        out *= per_weight(fp16(blocks, 108) * six_bit_scales(blocks[:, 96:108]), 256)
