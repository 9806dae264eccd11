"""The launches of a fused decoder layer, for one format each, beside what float64 arithmetic makes of them.

`checks` runs them; a layer of a model is compared with mlx-lm's own when it is loaded, too (localq/models/fused.py).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localq.formats.base import Format
from localq.kernels import own
from localq.kernels.drawn import random_tensor
from localq_metal.fused import Around, Experts, Norm, Turn, fused
from localq_metal.norm_add import norm_add
from localq_metal.route import route
from localq_metal.source import Packed
from localq_metal.turned import turned

OUT, IN, HEAD, EPS = 128, 512, 32, 1e-6
Floats = NDArray[np.float64]
Run = tuple[Callable[[], mx.array], Floats]


def of_format(fmt: type[Format], dtype: mx.Dtype) -> dict[str, list[Run]]:
    """By op: what is computed, and what it should give; nothing of formats whose inputs or outputs are rotated."""
    rng = np.random.default_rng(2)
    tensors = [random_tensor(fmt, (OUT, IN), rng) for _ in range(2)]
    w = np.stack([t.dequantize() for t in tensors]).astype(np.float64)
    each, stack = [own.prepare(t, dtype) for t in tensors], own.prepare_stack(tensors, dtype)
    if stack is None or not stack.plain or any(one is None for one in each):
        return {}
    two = [one.packed for one in each if one is not None]
    small = 4 / (np.abs(w).max() * IN**0.5)  # gates of a few units
    x, gain, more = (_draw(rng, shape, dtype) for shape in ((4, IN), (1, IN), (4, OUT)))
    norm = Norm((gain[0] * small).astype(dtype), EPS)
    normed = _normed(_floats(x), norm.gain)
    h = (x * small).astype(dtype)
    residual = _floats(h) @ w[0].T + _floats(more)
    return {
        "norm and swiglu": [
            (partial(_fused, two, x[:n], Around(norm=norm, act="silu")), _swiglu(normed[:n], w)) for n in (1, 4)
        ],
        "residual": [(partial(_fused, two[:1], h[:n], Around(more=more[:n])), residual[:n]) for n in (1, 4)],
        "norm and rotation": [_heads(two, x[:1], w, norm, normed[:1])],
        "experts": _experts(stack.packed, (h, more), w, dtype),
    }


def of_none(dtype: mx.Dtype) -> dict[str, list[Run]]:
    """As `of_format`, of the launches that read no packed weights."""
    rng = np.random.default_rng(3)
    x, gain = _draw(rng, (3, 2 * HEAD), dtype), _draw(rng, (2, HEAD), dtype)
    heads, table = x.reshape(3, 2, HEAD), _table(3)
    each = (heads, heads[:, :1], heads[:, 1:])
    queries, key = (_turned(_normed(_floats(a), g), table) for a, g in ((heads, gain[0]), (heads[:, :1], gain[1])))
    all_heads = np.concatenate([queries, key, _floats(heads[:, 1:])], axis=1)
    biases = _draw(rng, (1, 4 * HEAD), dtype)
    added = np.concatenate([_floats(a) for a in each], axis=1) + _floats(biases).reshape(1, 4, HEAD)
    biased = np.concatenate([_turned(added[:, :3], table), added[:, 3:]], axis=1)
    norm, logits = Norm(_draw(rng, (1, 2 * HEAD), dtype)[0], EPS), _floats(x)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return {
        "heads": [
            (partial(_launch, turned, each, Norm(gain.reshape(-1), EPS), mx.array(table)), all_heads),
            (partial(_launch, turned, each, biases[0], mx.array(table)), biased),
        ],
        "norm and residual": [(partial(_launch, norm_add, x, 2 * x, norm), _normed(logits, norm.gain) + 2 * logits)],
        "router": [(lambda: route(own.factory(), x, 4, False)[0], -np.sort(-p, axis=-1)[:, :4])],
    }


def _launch(kernel: Callable[..., mx.array], *what: object) -> mx.array:
    return kernel(own.factory(), *what)


def _fused(each: list[Packed], x: mx.array, around: Around) -> mx.array:
    return fused(own.factory(), each, x, around)


def _swiglu(x: Floats, w: Floats) -> Floats:
    gate, up = x @ w[0].T, x @ w[1].T
    found: Floats = gate / (1 + np.exp(-gate)) * up
    return found


def _heads(two: list[Packed], x: mx.array, w: Floats, norm: Norm, normed: Floats) -> Run:
    """The first matrix gives heads that are rotated, the second values."""
    y, table = normed @ np.concatenate(w).T, _table(1)
    y[:, :OUT] = _turned(y[:, :OUT].reshape(1, -1, HEAD), table).reshape(1, OUT)
    return partial(_fused, two, x, Around(norm=norm, turn=Turn(mx.array(table), OUT, HEAD))), y


def _experts(stack: Packed, given: tuple[mx.array, mx.array], w: Floats, dtype: mx.Dtype) -> list[Run]:
    """Gate and up of two experts a token, then the sum of two experts' products by their scores."""
    named, scores = np.array([1, 0, 0, 1]), np.array([0.25, 0.75, 0.5, 0.125])
    h, more = given
    x = h[:2]
    inner = np.stack([_swiglu(_floats(x)[n // 2], w[[e, e]]) for n, e in enumerate(named)])
    outer = np.stack([score * (_floats(h)[n] @ w[e].T) for n, (e, score) in enumerate(zip(named, scores, strict=True))])
    down = Experts(mx.array(named), 2, mx.array(scores.astype(np.float32)).astype(dtype))
    return [
        (partial(_fused, [stack, stack], x, Around(act="silu", experts=Experts(mx.array(named), 2))), inner),
        (
            partial(_fused, [stack], h, Around(more=more[:2], experts=down)),
            outer.reshape(2, 2, -1).sum(axis=1) + _floats(more[:2]),
        ),
    ]


def _table(rows: int) -> NDArray[np.float32]:
    """Cosines, then sines, of positions from 3 on."""
    angles = np.arange(3, 3 + rows)[:, None] * 10000.0 ** (-np.arange(0, HEAD, 2) / HEAD)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def _turned(heads: Floats, table: NDArray[np.float32]) -> Floats:
    a, b = np.split(heads, 2, axis=-1)
    c, s = np.split(table.astype(np.float64)[:, None], 2, axis=-1)
    return np.concatenate([a * c - b * s, a * s + b * c], axis=-1)


def _normed(x: Floats, gain: mx.array) -> Floats:
    found: Floats = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + EPS) * _floats(gain)
    return found


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    return mx.array(rng.standard_normal(shape).astype(np.float32)).astype(dtype)


def _floats(x: mx.array) -> Floats:
    return np.asarray(x.astype(mx.float32)).astype(np.float64)
