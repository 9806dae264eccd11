"""What happens to activations around packed products: orders, scales and Hadamard rotations of `Rotation`, in MLX.

Everything is float32. A stack has the vectors of all its matrices, and `which` names the one of every activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from localq.formats.hadamard import matrix
from localq.formats.hadamard_orders import factors, odd_matrix
from localq.kernels.inputs import WHOLE, Rotation
from localq_metal.hadamard import ORDERS, hadamard
from localq_metal.source import Factory


@dataclass(frozen=True, eq=False)
class Turn:
    """A `Rotation` in MLX memory: vectors `[n]`, or `[matrices, n]` of a stack."""

    block: int
    transposed: bool
    before: mx.array | None
    after: mx.array | None
    order: mx.array | None
    part: tuple[int, int, int] | None = None
    matrix: mx.array | None = None  # one for all matrices of a stack

    @classmethod
    def of(cls, each: Sequence[Rotation | None], stack: bool) -> Turn | None:
        """The rotations of matrices of one kind; None where they have none."""
        first = each[0]
        if first is None:
            return None
        found = [one for one in each if one is not None]

        def vectors(name: str) -> mx.array | None:
            values = [getattr(one, name) for one in found]
            if values[0] is None:
                return None
            return mx.array(np.stack(values) if stack else values[0])

        matrix = None if first.matrix is None else mx.array(first.matrix)
        order = vectors("order")
        return cls(first.block, first.transposed, vectors("before"), vectors("after"), order, first.part, matrix)

    @property
    def turns(self) -> bool:
        """Whether it rotates, not only scales and orders."""
        return bool(self.block) or self.matrix is not None

    @property
    def arrays(self) -> list[mx.array]:
        """Every array it holds."""
        return [a for a in (self.before, self.after, self.order, self.matrix) if a is not None]

    def apply(self, factory: Factory, x: mx.array, which: mx.array | None = None) -> mx.array:
        """`x [..., n]` rotated; `which` (`x.shape[:-1]`) names each vector's matrix of a stack."""
        if self.order is not None:
            order = self.order if which is None else self.order[which]
            x = mx.take(x, order, axis=-1) if which is None else mx.take_along_axis(x, order, axis=-1)
        y = _scaled(x, self.before, which)
        if self.block:
            y = rotate(factory, y, self.block, self.transposed)
        if self.matrix is not None:
            y = _blocks(y, self.matrix)
        if self.part is not None:
            y = y[..., self.part[0] : self.part[1]]
        return _scaled(y, self.after, which)

    def back(self, factory: Factory, y: mx.array, which: mx.array | None = None) -> mx.array:
        """The transpose of `apply`: weights `[..., n]` between the rotations as they are outside of them."""
        y = _scaled(y, self.after, which)
        if self.part is not None:
            start, stop, whole = self.part
            y = mx.pad(y, [(0, 0)] * (y.ndim - 1) + [(start, whole - stop)])
        if self.block:
            y = rotate(factory, y, self.block, not self.transposed)
        if self.matrix is not None:
            y = _blocks(y, self.matrix.T)
        y = _scaled(y, self.before, which)
        if self.order is None:
            return y
        inverse = mx.argsort(self.order, axis=-1)
        return mx.take(y, inverse, axis=-1) if which is None else mx.take_along_axis(y, inverse[which], axis=-1)


def rotate(factory: Factory, x: mx.array, block: int, transposed: bool) -> mx.array:
    """`H x` in blocks of a power of two without a factor, or over the whole vector as QuIP# has it."""
    if block != WHOLE:
        return _sylvester(factory, x, block)
    width = x.shape[-1]
    found = factors(width)
    assert found is not None, width
    order, rest = found
    runs = _sylvester(factory, x, rest).reshape(*x.shape[:-1], order, rest)
    if order > 1:
        odd = mx.array(odd_matrix(order))
        runs = (odd.T if transposed else odd) @ runs
    return runs.reshape(x.shape) * (1 / float(np.sqrt(width)))


def _blocks(x: mx.array, matrix: mx.array) -> mx.array:
    """Every `h` values of the last axis times `matrix [h, h]`, in float32."""
    return (x.astype(mx.float32).reshape(*x.shape[:-1], -1, matrix.shape[0]) @ matrix).reshape(x.shape)


def _sylvester(factory: Factory, x: mx.array, order: int) -> mx.array:
    """Blocks of `order`, a power of two: by the kernel, by a small matrix, or by both one after the other."""
    if order in ORDERS:
        return hadamard(factory, x, order)
    if order < ORDERS[0]:
        return (x.astype(mx.float32).reshape(*x.shape[:-1], -1, order) @ mx.array(matrix(order))).reshape(x.shape)
    few = order // ORDERS[-1]
    runs = hadamard(factory, x, ORDERS[-1]).reshape(*x.shape[:-1], -1, few, ORDERS[-1])
    other = _sylvester(factory, runs.swapaxes(-1, -2), few)
    return other.swapaxes(-1, -2).reshape(x.shape)


def _scaled(x: mx.array, by: mx.array | None, which: mx.array | None) -> mx.array:
    return x if by is None else x * (by if which is None else by[which])
