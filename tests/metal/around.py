"""What a decoder layer has around its products, in float64, with bounds; and each launch of it for one format.

With u = 2^-24: a dot product of n terms is off by (n + 1) u of its size, the sum of |terms| (test_qmv.py); the norm
adds a rounding of x * gain, one of the product with 1 / rms, and for rms itself half of the (n + 1) u of the squares'
sum and a few: 2 n + 8 together. SiLU and GELU have slopes of at most 1.13; 32 u are for their own roundings and exp's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from localq_metal.fused import Around, Experts, Norm, Turn, fused
from localq_metal.norm_add import norm_add
from localq_metal.route import route
from localq_metal.source import Packed
from localq_metal.turned import turned
from tests.metal.blocks import STEMS, minima, oracle, ordinary, packed
from tests.metal.test_layouts import between, drawn, held
from tests.metal.test_qmv import HALF_STEP, SMALLEST, draw

U = 2.0**-24
EPS = 1e-6
Numbers = np.ndarray


def floats(a: mx.array) -> Numbers:
    return np.array(a.astype(mx.float32)).astype(np.float64)


class Exact:
    """A product in float64, its size, and how far a float32 sum of it may be off."""

    def __init__(self, x: Numbers, w: Numbers, slack: Any = 0.0, norm: Norm | None = None) -> None:
        terms = w.shape[-1]
        over = 1.0
        if norm is not None:
            over = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + norm.eps)
            x = x * floats(norm.gain)
        self.value = (x @ w.T) * over
        self.off = (2 * terms + 8 if norm else terms + 1) * U * (np.abs(x) @ (np.abs(w) + 2 * np.abs(slack)).T) * over


def bound_of(want: Numbers, off: Numbers, dtype: mx.Dtype) -> Numbers:
    """How far a result in this dtype may be off."""
    found: Numbers = off + HALF_STEP[dtype] * (np.abs(want) + off) + SMALLEST[dtype] + 2 * U * np.abs(want)
    return found


def within(got: mx.array, want: Numbers, off: Numbers, dtype: mx.Dtype, name: str = "") -> None:
    assert got.dtype == dtype and got.shape == want.shape
    share = np.abs(floats(got) - want) / bound_of(want, off, dtype)
    assert np.isfinite(share).all() and share.max() <= 1, f"{name}: {share.max():.2f} of the bound"


def activated(act: str, gate: Exact, up: Exact) -> tuple[Numbers, Numbers]:
    z = gate.value if act == "silu" else 1.5957691216057308 * (gate.value + 0.044715 * gate.value**3)
    a = gate.value * np.exp(-np.logaddexp(0, -z))
    # z of a large gate is off by more roundings of its own size; the slope of the sigmoid is then next to nothing.
    off = 1.13 * gate.off + 32 * U * np.abs(gate.value)
    return a * up.value, off * (np.abs(up.value) + up.off) + np.abs(a) * up.off


def table(positions: range, head: int) -> mx.array:
    angles = np.array(positions)[:, None] * 10000.0 ** (-np.arange(0, head, 2) / head)
    return mx.array(np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32))


def rotated(heads: Numbers, cosines: Numbers) -> Numbers:
    """`heads [m, n, head]` by a table `[m, head]`; or how far they may be off, given how far each is."""
    half = heads.shape[-1] // 2
    a, b = heads[..., :half], heads[..., half:]
    c, s = cosines[:, None, :half], cosines[:, None, half:]
    return np.concatenate([a * c - b * s, a * s + b * c], axis=-1)


class Launch(NamedTuple):
    """A kernel's call, its result in float64, and how far a float32 computation of it may be off."""

    name: str
    call: Callable[[Any], Any]
    want: Numbers
    off: Numbers


def launches(two: list[Packed], stack: Packed, w: Numbers, slack: Numbers, dtype: mx.Dtype) -> Iterator[Launch]:
    """Every fused launch of a format once: two matrices, alone and as a stack, `w` and `slack` `[2, out, in]`."""
    out, width = w.shape[1:]
    size = 1 / float(np.abs(w).max())
    x = draw(3, width, dtype, 0.01)
    gain = draw(1, width, dtype)[0]
    gate = Exact(floats(x), w[0], slack[0], Norm(gain, EPS))
    norm = Norm((gain * min(1.0, 8 / float(np.abs(gate.value).max()))).astype(dtype), EPS)  # gates of a few units
    for act, rows in (("silu", 1), ("gelu", 3)):
        pair = [Exact(floats(x[:rows]), w[i], slack[i], norm) for i in range(2)]
        around = Around(norm=norm, act=act)
        yield Launch(f"norm {act} {rows}", _call(two, x[:rows], around), *activated(act, *pair))
    h, more = draw(4, width, dtype, size), draw(4, out, dtype, 3.0)
    for rows in (1, 3):
        exact = Exact(floats(h[:rows]), w[0], slack[0])
        call = _call(two[:1], h[:rows], Around(more=more[:rows]))
        yield Launch(f"residual {rows}", call, exact.value + floats(more[:rows]), exact.off)
    yield _heads(two, x[:1], w, slack, norm)
    named, scores = np.array([1, 0, 0, 1]), np.array([0.25, 0.75, 0.5, 0.125])
    few = (x[:2] * 0.2).astype(dtype)
    scaled = (few * min(1.0, 8 / float(np.abs(floats(few) @ w[0].T).max()))).astype(dtype)
    lines = [
        activated("silu", *(Exact(floats(scaled)[n // 2][None], w[e], slack[e]) for _ in range(2)))
        for n, e in enumerate(named)
    ]
    experts = Around(act="silu", experts=Experts(mx.array(named), 2))
    yield Launch("experts", _call([stack, stack], scaled, experts), *map(np.concatenate, zip(*lines, strict=True)))
    each = [Exact(floats(h)[n][None], w[e], slack[e]) for n, e in enumerate(named)]
    want = np.stack([sum(scores[n] * each[n].value[0] for n in pair) for pair in ((0, 1), (2, 3))])
    off = np.stack([sum(2 * scores[n] * each[n].off[0] for n in pair) for pair in ((0, 1), (2, 3))])
    down = Experts(mx.array(named), 2, mx.array(scores.astype(np.float32)).astype(dtype))
    call = _call([stack], h, Around(more=more[:2], experts=down))
    yield Launch("scored experts", call, want + floats(more[:2]), off)


def _call(each: list[Packed], x: mx.array, around: Around) -> Callable[[Any], Any]:
    return lambda factory: fused(factory, each, x, around)


def _heads(two: list[Packed], x: mx.array, w: Numbers, slack: Numbers, norm: Norm) -> Launch:
    """The first 16 rows as a head that is turned."""
    exact, turn = Exact(floats(x), np.concatenate(w), np.concatenate(slack), norm), Turn(table(range(7, 8), 16), 16, 16)
    want, off = exact.value.copy(), exact.off.copy()
    want[:, :16] = rotated(want[:, :16].reshape(1, 1, 16), floats(turn.table)).reshape(1, 16)
    pair = off[:, :16].reshape(1, 2, 8) + 4 * U * np.abs(exact.value[:, :16]).reshape(1, 2, 8)
    off[:, :16] = np.tile(pair.sum(axis=1), 2)
    return Launch("norm turn", _call(two, x, Around(norm=norm, turn=turn)), want, off)


def plain_calls(dtype: mx.Dtype) -> list[Callable[[Any], Any]]:
    """The launches of a layer that read no packed weights."""
    x = draw(3, 64, dtype)
    heads, norm = x.reshape(3, 2, 32), Norm(draw(1, 64, dtype)[0], EPS)
    return [
        lambda f: turned(f, (heads, heads[:, :1], heads[:, 1:]), norm, table(range(3), 32)),
        lambda f: turned(f, (heads, heads[:, :1], heads[:, 1:]), draw(1, 128, dtype)[0], table(range(3), 32)),
        lambda f: norm_add(f, x, 2 * x, norm),
        lambda f: route(f, x[:, :40], 4, True)[0],
    ]


def matrices(name: str) -> tuple[list[Packed], Packed, Numbers, Numbers]:
    """What `launches` takes, of a format by name: two matrices, the two as a stack, their weights and slack."""
    two: list[Any] = [ordinary(name, (21, 512), i) if name in STEMS else drawn(name, seed=i) for i in range(2)]
    hold, decode = (packed, oracle) if name in STEMS else (held, between)
    w = np.stack([decode(t).astype(np.float64) for t in two])
    slack = np.stack(
        [np.abs(minima(t)) * np.ones_like(one) if name in STEMS else 0 * one for t, one in zip(two, w, strict=True)]
    )
    return [hold(t) for t in two], hold(*two), w, slack
