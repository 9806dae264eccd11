"""From floats to codes by rounding to nearest, with the bytes the defining libraries give. No format of its own.

Sources: `quantize_row_*_ref` (ggml/src/ggml-quants.c); `affine_quantize`, `fp_quantize` (mlx/ops.cpp).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from localq.errors import LocalqError
from localq.formats.arrays import Array, Floats, NDArray
from localq.formats.base import GGMLFormat, PackedTensor

_MIDDLES = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)  # between E2M1's 0 .5 1 1.5 2 3 4 6


def refuse_nonfinite(name: str, w: Array) -> None:
    """No format has a code for infinity or NaN.

    Raises:
        LocalqError: `w` has such a weight.
    """
    count = int(w.size - np.isfinite(w).sum())
    if count:
        raise LocalqError(f"{count} of {w.size} weights are infinite or NaN; {name} holds finite weights only.")


def in_blocks(fmt: type[GGMLFormat], w: Floats, encode: Callable[[Floats], Array]) -> PackedTensor:
    """Pack `w [..., in]` by `encode`, float32 `[n, block_size]` to uint8 `[n, block_bytes]`."""
    stored = fmt.layout(w.shape)["weight"]
    refuse_nonfinite(fmt.name, w)
    blocks = np.ascontiguousarray(w, np.float32).reshape(-1, fmt.block_size)
    out = np.empty((len(blocks), fmt.block_bytes), np.uint8)
    step = (1 << 17) // fmt.block_size  # keep a chunk's temporaries inside the CPU's caches
    with np.errstate(all="ignore"):  # scales beyond fp16 become infinite, as in ggml
        for i in range(0, len(blocks), step):
            out[i : i + step] = encode(blocks[i : i + step])
    return PackedTensor(fmt, w.shape, {"weight": out.reshape(stored.shape)})


def inverse(d: Floats) -> Floats:
    """1 / d, and 0 for 0."""
    return np.where(d == 0, np.float32(0), np.float32(1) / d)


def fp16_bytes(d: Floats) -> NDArray[np.uint8]:
    """float32 `[n, 1]` as the two bytes of a float16."""
    return d.astype(np.float16).view(np.uint8)


def symmetric(blocks: Floats, zero: int) -> tuple[Floats, NDArray[np.uint8]]:
    """d and codes 0 to 2 * zero - 1: the weight of largest magnitude gets code 0, and d that weight over -zero."""
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)
    d = largest / np.float32(-zero)
    codes = (blocks * inverse(d) + np.float32(zero + 0.5)).astype(np.int32)
    return d, np.clip(codes, 0, 2 * zero - 1).astype(np.uint8)


def ranged(blocks: Floats, top: int) -> tuple[Floats, Floats, NDArray[np.uint8]]:
    """d, minimum and codes 0 to top: the range from the least weight to the greatest in even steps."""
    least = blocks.min(axis=1, keepdims=True)
    d = (blocks.max(axis=1, keepdims=True) - least) / np.float32(top)
    codes = ((blocks - least) * inverse(d) + np.float32(0.5)).astype(np.int32)
    return d, least, np.clip(codes, 0, top).astype(np.uint8)


def join_halves(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Low four bits of codes `[n, 2k]` as ggml's nibbles `[n, k]`: first half low, second half high."""
    middle = codes.shape[1] // 2
    return codes[:, :middle] & np.uint8(15) | codes[:, middle:] << np.uint8(4)


def nearest_e2m1(v: Floats) -> NDArray[np.uint8]:
    """The E2M1 codes nearest to `v`, the smaller magnitude where two are as near; never a negative zero."""
    codes = np.searchsorted(np.array(_MIDDLES, np.float32), np.abs(v)).astype(np.uint8)
    return codes | ((v < 0) & (codes > 0)).astype(np.uint8) << np.uint8(3)
