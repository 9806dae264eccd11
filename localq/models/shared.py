"""Projections with one input in one launch: queries, keys and values; gate and up.

Launches cost a Mac more of a token's time than the bytes of these small matrices. Nothing of mlx-lm is changed: the
first projection that is asked computes all of its group, and the others find their result waiting, as long as they are
asked with the very same array. It is done for one token, outside of training, where localq's own kernels hold all of a
group in one format; otherwise each projection computes alone, as ever.
"""

from __future__ import annotations

import mlx.core as mx
from mlx.nn.layers.base import Module

from localq.kernels import own, tuning
from localq.models.linear import PackedLinear
from localq_metal.several import fits, several
from localq_metal.source import Packed

GROUPS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class Shared:
    """One group; `index` is a projection's place in it."""

    def __init__(self, each: list[Packed]) -> None:
        self.each = each
        self.input: mx.array | None = None
        self.waiting: dict[int, mx.array] = {}
        self.apart = False  # seen to be asked with different arrays: then sharing would only compute in vain

    def take(self, index: int, x: mx.array) -> mx.array | None:
        """The product of projection `index` with one token's `x`; None where it must be computed alone."""
        if self.apart or x.size != x.shape[-1]:
            return None
        if x is not self.input or index not in self.waiting:
            if self.waiting:
                self.apart, self.input, self.waiting = True, None, {}
                return None
            found = several(own.factory(), self.each, x.reshape(1, -1), tuning.shape(self.each[0].stem))
            self.input, self.waiting = x, dict(enumerate(found))
        y = self.waiting.pop(index)
        if not self.waiting:
            self.input = None
        return y.reshape(*x.shape[:-1], y.shape[-1])


def share(model: Module) -> int:
    """Let projections of a model share launches where they can; how many groups do."""
    count = 0
    for _, module in model.named_modules():
        for names in GROUPS:
            layers = [module.get(name) for name in names]
            each = [packed(layer) for layer in layers]
            held = [p for p in each if p is not None]
            if len(held) == len(each) and fits(held):
                group = Shared(held)
                for index, layer in enumerate(layers):
                    layer.shared = (group, index)
                count += 1
    return count


def packed(layer: object) -> Packed | None:
    """What the own kernels hold of a projection, if they hold it whole and unturned."""
    if not isinstance(layer, PackedLinear) or layer.swapped or layer.is_head or len(layer.placed) != 1:
        return None
    placed = layer.placed[0]
    if placed.kernel is not own or not placed.handle.plain:
        return None
    found: Packed = placed.handle.packed
    return found
