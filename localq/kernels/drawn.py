"""Tensors of any format, drawn at random: what kernels are compared on."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localq.formats.base import Format, GGMLFormat, PackedTensor

Floats = NDArray[np.float32]


def random_tensor(fmt: type[Format], shape: tuple[int, int], rng: np.random.Generator) -> PackedTensor:
    """A tensor of any format, its stored codes drawn at random and its scales kept ordinary.

    MLX's formats are packed by MLX itself, floats by numpy; ggml blocks are random bytes, drawn again until they
    decode to weights between 1e-6 and 1e4 (their scales are 16-bit floats somewhere inside the block).
    """
    if issubclass(fmt, GGMLFormat):
        return _random_blocks(fmt, shape, rng)
    weights = rng.standard_normal(shape).astype(np.float32)
    if fmt.family == "mlx":
        return _packed_by_mlx(fmt, weights)
    return fmt.sample(shape, rng)


def _random_blocks(fmt: type[GGMLFormat], shape: tuple[int, int], rng: np.random.Generator) -> PackedTensor:
    count = shape[0] * shape[1] // fmt.block_size
    blocks = np.empty((count, fmt.block_bytes), np.uint8)
    todo = np.arange(count)
    while len(todo):
        blocks[todo] = rng.integers(0, 256, (len(todo), fmt.block_bytes), np.uint8)
        with np.errstate(all="ignore"):
            out = np.empty((len(todo), fmt.block_size), np.float32)
            fmt.decode(blocks[todo], out)
            peak = np.abs(out).max(axis=1)
        todo = todo[~((peak > 1e-6) & (peak < 1e4))]
    extra = {n: rng.uniform(0.5, 2, p.shape) for n, p in fmt.layout(shape).items() if n != "weight"}
    parts = {n: np.asarray(p, np.float32) for n, p in extra.items()}  # a second scale per matrix
    return PackedTensor(fmt, shape, {"weight": blocks.reshape(shape[0], -1), **parts})


def _packed_by_mlx(fmt: type[Format], weights: Floats) -> PackedTensor:
    mode, bits, group = fmt.settings()  # type: ignore[attr-defined]  # the family "mlx" has it
    arrays = mx.quantize(mx.array(weights), group, bits, mode=mode)
    parts = dict(zip(("weight", "scales", "biases"), (np.array(a) for a in arrays), strict=False))
    return PackedTensor(fmt, weights.shape, parts)
