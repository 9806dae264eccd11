"""Angles of rotary position embeddings, as kernels take them: cosines and sines of a few positions.

They are computed on the host in float64, once for all layers of a step: a position of some 100,000 times a frequency in
float32, as MLX's own kernel has it, is off by thousandths of a radian.
"""

from __future__ import annotations

from functools import lru_cache

import mlx.core as mx
import numpy as np
from mlx.nn.layers.base import Module
from mlx.nn.layers.positional_encoding import RoPE


class Angles:
    """Of heads of `head` elements: `frequencies [head / 2]` in radians per position; `scale` lengthens the heads."""

    def __init__(self, frequencies: np.ndarray, scale: float = 1.0) -> None:
        self.frequencies = tuple(float(f) for f in frequencies)
        self.scale = scale

    @property
    def head(self) -> int:
        """Elements of a head."""
        return 2 * len(self.frequencies)

    def table(self, first: int, batch: int, length: int) -> mx.array:
        """float32 `[batch * length, head]`: for positions from `first` on, the cosines, then the sines."""
        return _table(self.frequencies, self.scale, first, batch, length)


@lru_cache(maxsize=8)
def _table(frequencies: tuple[float, ...], scale: float, first: int, batch: int, length: int) -> mx.array:
    angles = np.arange(first, first + length)[:, None] * np.array(frequencies)
    table = scale * np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    return mx.array(np.tile(table, (batch, 1)).astype(np.float32))


def angles(rope: Module, head: int) -> Angles | None:
    """What a rotation module of mlx-lm's does to whole heads, halves against each other; None where it does not."""
    from mlx_lm.models.rope_utils import Llama3RoPE, YarnRoPE

    if type(rope) not in (RoPE, Llama3RoPE, YarnRoPE) or rope.traditional or rope.dims != head:
        return None
    if type(rope) is RoPE:
        return Angles(rope.scale * float(rope.base) ** (-np.arange(0, head, 2) / head))
    wavelengths = np.asarray(rope._freqs.astype(mx.float32)).astype(np.float64)
    return Angles(1 / wavelengths, float(getattr(rope, "mscale", 1.0)))
