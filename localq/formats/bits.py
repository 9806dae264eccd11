"""Small integers in bytes: the moves most formats share. No format of its own.

`pack` and `unpack` speak MLX's layout, a little-endian bitstream of codes in uint32 words.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from localq.formats.arrays import Array, NDArray


def fp16(blocks: Array, at: int, count: int = 1) -> NDArray[np.float32]:
    """`count` fp16 values stored at byte `at` of each block, as float32 `[n, count]`."""
    return np.ascontiguousarray(blocks[:, at : at + 2 * count]).view(np.float16).astype(np.float32)


def per_weight(scales: NDArray[np.float32], weights: int) -> NDArray[np.float32]:
    """Scales `[n, groups]`, each repeated for its weights: `[n, weights]`. One long product beats many short ones."""
    return np.repeat(scales.reshape(-1), weights // scales.shape[1]).reshape(-1, weights)


def _run(bits: int) -> tuple[int, int]:
    """The shortest run of whole bytes that holds whole codes: its bytes and its codes."""
    return (1, 8 // bits) if 8 % bits == 0 else (bits, 8) if bits % 2 else (bits // 2, 4)


def unpack(words: Array, bits: int) -> NDArray[np.uint8]:
    """Codes of `bits` (1 to 8) each from uint32 words `[..., w]`: uint8 `[..., w * 32 / bits]`."""
    raw = np.ascontiguousarray(words).view(np.uint8)
    if bits == 8:
        return raw
    if 8 % bits == 0:
        return byte_codes(bits, 0, 1).take(raw).view(np.uint8)
    stored, codes = _run(bits)
    runs = raw.reshape(-1, stored)
    out = np.empty((len(runs), codes), np.uint8)
    for i in range(codes):
        at, shift = divmod(i * bits, 8)
        out[:, i] = runs[:, at] >> shift
        if shift + bits > 8:
            out[:, i] |= runs[:, at + 1] << (8 - shift)
    out &= np.uint8((1 << bits) - 1)
    return out.reshape(*raw.shape[:-1], -1)


def pack(codes: Array, bits: int) -> NDArray[np.uint32]:
    """The inverse of `unpack`: uint8 codes `[..., k]` to uint32 words `[..., k * bits / 32]`."""
    flat = np.ascontiguousarray(codes)
    if bits == 8:
        return flat.view(np.uint32)
    stored, count = _run(bits)
    runs = flat.reshape(-1, count)
    raw = np.zeros((len(runs), stored), np.uint8)
    for i in range(count):
        at, shift = divmod(i * bits, 8)
        raw[:, at] |= runs[:, i] << shift
        if shift + bits > 8:
            raw[:, at + 1] |= runs[:, i] >> (8 - shift)
    return raw.reshape(*flat.shape[:-1], -1).view(np.uint32)


def halves(q: Array) -> NDArray[np.uint8]:
    """Codes of ggml's nibble order: the low nibbles of bytes `[..., k]`, then the high ones: `[..., 2k]`."""
    return np.concatenate([q & np.uint8(15), q >> np.uint8(4)], axis=-1)


def two_bit_planes(q: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Bits 0-1, 2-3, 4-5 and 6-7 of every byte: four uint8 arrays of `q`'s shape."""
    three = np.uint8(3)
    return [q & three, q >> np.uint8(2) & three, q >> np.uint8(4) & three, q >> np.uint8(6)]


@cache
def byte_codes(bits: int, offset: int, step: int) -> Array:
    """For every byte its codes of `bits` (1, 2, 4), lowest first, as int8 `offset + step * code`, in one word."""
    bytes_ = np.arange(256, dtype=np.uint8)[:, None]
    codes = bytes_ >> np.arange(0, 8, bits, dtype=np.uint8) & ((1 << bits) - 1)
    values = (offset + step * codes.astype(np.int16)).astype(np.int8)
    return values.view(f"u{8 // bits}")[:, 0]
