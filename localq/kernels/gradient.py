"""The derivative of a packed product by its activations, so that adapters can be trained on packed bases.

A product with W has the product with W the other way round as its derivative; the weights themselves have none. MLX's
own modes come with it. `mx.custom_function` costs some 8 microseconds a call (measured here) and cannot be exported,
which is why localq's own kernels have it only while a model trains (`Module.train()`); the reference, which leaves MLX
for numpy and would lose the derivative without a word, has it always.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

Product = Callable[[mx.array], mx.array]


def product(x: mx.array, forward: Product, backward: Product) -> mx.array:
    """`forward(x)`, linear in x; its vector-Jacobian product is `backward` summed over the axes x was spread along.

    Both are of any shapes that broadcast: `backward`'s result has at least the axes of `x`.
    """
    function = mx.custom_function(forward)

    @function.vjp
    def vjp(primal: mx.array, cotangent: mx.array, _output: mx.array) -> mx.array:
        return _summed(backward(cotangent), x.shape).astype(x.dtype)

    y = function(x)
    assert isinstance(y, mx.array)
    return y


def _summed(y: mx.array, shape: tuple[int, ...]) -> mx.array:
    """`y` summed to `shape`, which broadcasts to its own."""
    if y.ndim > len(shape):
        y = y.sum(axis=tuple(range(y.ndim - len(shape))))
    spread = tuple(i for i, n in enumerate(shape) if n == 1 and y.shape[i] != 1)
    return y.sum(axis=spread, keepdims=True) if spread else y
