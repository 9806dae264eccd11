"""tq2_0: 256 ternary weights in 66 bytes. qs[64], fp16 d; weight = d * (code - 1), codes of two bits.

Bits 2k and 2k + 1 of bytes 32h to 32h + 31 are weights 128h + 32k to 128h + 32k + 31. A code of 3 (weight 2d) is
valid though no quantiser writes it.
Source: `block_tq2_0`, `dequantize_row_tq2_0` (ggml/src/ggml-common.h, ggml-quants.c).
"""

from __future__ import annotations

import numpy as np

from localq.formats.affine_twin import AffineTwin
from localq.formats.arrays import Array, NDArray
from localq.formats.bits import fp16, two_bit_planes


class TQ2_0(
    AffineTwin,
    name="tq2_0",
    twin=(2, 128),
    bits=2,
    group_size=256,
    symmetric=True,
    scale="fp16 per 256",
    kernel="tq2_0",
):
    @classmethod
    def decode(cls, blocks: Array, out: NDArray[np.float32]) -> None:
        runs = out.reshape(-1, 2, 4, 32)
        for k, plane in enumerate(two_bit_planes(blocks[:, :64])):
            runs[:, :, k] = (plane.view(np.int8) - np.int8(1)).reshape(-1, 2, 32)
        out *= fp16(blocks, 64)

    @classmethod
    def affine(cls, blocks: Array) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        d = fp16(blocks, 64)
        codes = np.stack([plane.reshape(-1, 2, 32) for plane in two_bit_planes(blocks[:, :64])], axis=2)
        return codes.reshape(-1, 256), np.repeat(d, 2, axis=1), np.repeat(-d, 2, axis=1)
