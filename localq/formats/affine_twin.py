"""ggml formats whose weights MLX's affine mode holds exactly, in up to a third more bytes. No format of its own.

affine computes scale * code + bias. With a 16-bit float d, scale = d and bias = -8 d (q4_0), code and scale multiply
without rounding in float32 and so does the sum, being d * (code - 8): nothing is lost wherever the bias is a finite
float16; where it is not, scales are kept as float32. So they are beside bfloat16 activations, which round them. Bytes
over ggml's, 16-bit scales / float32: q4_0 1.11 / 1.33, q4_1 1 / 1.2, q5_0 1.09 / 1.27, q5_1 1 / 1.17, q8_0 1.06 / 1.18,
q1_0 and q2_0 1.11 / 1.33, tq2_0 1.09 / 1.21: where localq has kernels of its own, they take the blocks as they are.
Formats that would grow by more (tq1_0 by a third, q4_k and q5_k with their float32 scales) or whose groups are of 16
weights have no twin.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import GGMLFormat, Native, PackedTensor
from localq.formats.bits import pack


class AffineTwin(GGMLFormat):
    """A ggml format with `twin`, the bits and group size of the affine mode that holds it."""

    twin: ClassVar[tuple[int, int]] = (0, 0)

    def __init_subclass__(cls, *, twin: tuple[int, int] = (0, 0), **facts: Any) -> None:
        cls.twin = twin
        super().__init_subclass__(**facts)

    @classmethod
    def affine(cls, blocks: Array) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]:
        """uint8 codes `[n, block_size]`, and float32 scales and biases `[n, block_size / group]` of uint8 blocks."""
        raise TypeError(f"{cls.__name__} defines no affine")

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine with the same weights; None where a scale is infinite or NaN, for inf - inf is not inf * 1."""
        bits, group = cls.twin
        blocks = t.parts["weight"].reshape(-1, cls.block_bytes)
        words = np.empty((len(blocks), cls.block_size * bits // 32), np.uint32)
        scales = np.empty((len(blocks), cls.block_size // group), np.float32)
        biases = np.empty_like(scales)
        step = (1 << 17) // cls.block_size  # keep a chunk's temporaries inside the CPU's caches
        with np.errstate(all="ignore"):
            for i in range(0, len(blocks), step):
                chunk = slice(i, i + step)
                codes, scales[chunk], biases[chunk] = cls.affine(blocks[chunk])
                words[chunk] = pack(codes, bits)
        if not (np.isfinite(scales).all() and np.isfinite(biases).all()):
            return None
        packed, small, least = (a.reshape(*t.shape[:-1], -1) for a in (words, *narrow(scales, biases)))
        return Native("affine", bits, group, packed, small, least)


def narrow(*arrays: NDArray[np.float32]) -> tuple[Array, ...]:
    """The arrays as float16 if that changes no value in any of them, else as they are."""
    with np.errstate(over="ignore"):
        small = tuple(a.astype(np.float16) for a in arrays)
    same = all(np.array_equal(s.astype(np.float32), a) for s, a in zip(small, arrays, strict=True))
    return small if same else arrays
