"""Packed tensors of random and of crafted bytes, for the tests of every ggml format."""

from __future__ import annotations

import numpy as np

from localq.formats.base import GGMLFormat, PackedTensor

COLUMNS = 2  # blocks a row

# fp16 bit patterns: zeros, least and greatest denormal, least normal, ones, greatest, infinities and NaNs, both signs
HALVES = np.array(
    [0x0000, 0x0001, 0x03FF, 0x0400, 0x3C00, 0x3555, 0x7BFF, 0x7C00, 0x7E00, 0x7C01]
    + [0x8000, 0x8001, 0x83FF, 0x8400, 0xBC00, 0xB555, 0xFBFF, 0xFC00, 0xFE00, 0xFC01],
    np.uint16,
)
# Where a block keeps its fp16 values; iq1_m spreads its one over four words and has a test of its own.
HALF_AT = {
    **dict.fromkeys(["q4_0", "q5_0", "q8_0", "q1_0", "q2_0", "iq4_nl", "iq4_xs"], (0,)),
    **dict.fromkeys(["iq1_s", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s"], (0,)),
    **dict.fromkeys(["q4_1", "q5_1", "q4_k", "q5_k"], (0, 2)),
    "q2_k": (80, 82),
    "q3_k": (108,),
    "q6_k": (208,),
    "tq1_0": (52,),
    "tq2_0": (64,),
}
# Formats without an fp16: every byte of their scales is crafted below.
BYTE_SCALES = {"mxfp4_ggml": 1, "nvfp4_ggml": 4}


def tensor(fmt: type[GGMLFormat], blocks: np.ndarray) -> PackedTensor:
    """uint8 `[n, block_bytes]` as a matrix of two blocks a row, extra parts at one."""
    shape = (len(blocks) // COLUMNS, COLUMNS * fmt.block_size)
    parts = {"weight": blocks.reshape(shape[0], -1)}
    for name, part in fmt.layout(shape).items():
        parts.setdefault(name, np.ones(part.shape, part.dtype))
    return PackedTensor(fmt, shape, parts)


def random_blocks(fmt: type[GGMLFormat], count: int, seed: int = 0) -> np.ndarray:
    """uint8 `[count, block_bytes]` of uniformly random bytes."""
    return np.random.default_rng(seed).integers(0, 256, (count, fmt.block_bytes), dtype=np.uint8)


def crafted_blocks(fmt: type[GGMLFormat]) -> np.ndarray:
    """All-zero, all-one and random codes under every special scale, and under every pair where a block has two."""
    fields = HALF_AT.get(fmt.name, ())
    scales = np.array(np.meshgrid(*[HALVES] * len(fields))).reshape(len(fields), -1).T if fields else np.zeros((256, 0))
    codes = [np.zeros(fmt.block_bytes, np.uint8), np.full(fmt.block_bytes, 255, np.uint8)]
    codes += list(random_blocks(fmt, 6, seed=1))
    blocks = np.repeat(np.stack(codes), len(scales), axis=0)
    for column, at in enumerate(fields):
        blocks[:, at : at + 2].view(np.uint16)[:, 0] = np.tile(scales[:, column], len(codes))
    if count := BYTE_SCALES.get(fmt.name):
        blocks[:, :count] = np.tile(np.arange(256, dtype=np.uint8), len(codes))[:, None]
    return blocks
