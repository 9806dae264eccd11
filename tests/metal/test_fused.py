"""Products with what a layer does around them, against float64, and their CUDA twins, bit for bit."""

from __future__ import annotations

from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from localq_metal.cuda import translated
from localq_metal.fused import Around, Experts, Norm, Turn, fused
from localq_metal.norm_add import norm_add
from localq_metal.route import route
from localq_metal.turned import turned
from tests.metal.around import (
    EPS,
    Exact,
    Numbers,
    U,
    activated,
    floats,
    launches,
    matrices,
    plain_calls,
    rotated,
    table,
    within,
)
from tests.metal.blocks import minima, oracle, ordinary, packed
from tests.metal.cuda import CudaHarness
from tests.metal.harness import CHECKED, FAST, FLUSH, FMA, Harness, Mode
from tests.metal.test_qmv import HALF_STEP, draw

DTYPES = (mx.float32, mx.float16, mx.bfloat16)


def case(stem: str, rows: tuple[int, ...], columns: int = 512) -> tuple[list[Any], list[Numbers], list[Any]]:
    tensors = [ordinary(stem, (n, columns), seed) for seed, n in enumerate(rows)]
    return [packed(t) for t in tensors], [oracle(t).astype(np.float64) for t in tensors], [minima(t) for t in tensors]


def scale(w: list[Numbers]) -> float:
    return 1 / max(float(np.abs(one).max()) for one in w)


SAMPLE = [
    ("q4_k", mx.float32, CHECKED), ("q4_k", mx.float32, FMA), ("q4_k", mx.bfloat16, FAST), ("q6_k", mx.float16, FAST),
    ("iq3_s", mx.float32, FLUSH), ("q8_0", mx.bfloat16, CHECKED),
]  # fmt: skip


@pytest.mark.parametrize("stem, dtype, mode", SAMPLE, ids=str)
def test_norm_before_and_activation_after(harness: Harness, stem: str, dtype: mx.Dtype, mode: Mode) -> None:
    each, w, slack = case(stem, (21, 21))
    norm = Norm(draw(1, 512, dtype)[0], EPS)
    for tokens in (1, 3):
        x = draw(tokens, 512, dtype, 0.01)
        gate, up = (Exact(floats(x), *pair, norm) for pair in zip(w, slack, strict=True))
        small = min(1.0, 8 / float(np.abs(gate.value).max()))  # gates of a few units
        scaled = Norm((norm.gain * small).astype(dtype), EPS)
        gate, up = (Exact(floats(x), *pair, scaled) for pair in zip(w, slack, strict=True))
        act = "silu" if tokens == 1 else "gelu"
        y = fused(harness.factory(mode), each, x, Around(norm=scaled, act=act))
        within(y, *activated(act, gate, up), dtype, f"{act} {mode.name} {tokens}")


@pytest.mark.parametrize("stem, dtype, mode", SAMPLE[:4], ids=str)
def test_the_residual_after(harness: Harness, stem: str, dtype: mx.Dtype, mode: Mode) -> None:
    each, w, slack = case(stem, (21,))
    for tokens in (1, 5):
        x, more = draw(tokens, 512, dtype, scale(w)), draw(tokens, 21, dtype, 3.0)
        exact = Exact(floats(x), w[0], slack[0])
        y = fused(harness.factory(mode), each, x, Around(more=more))
        within(y, exact.value + floats(more), exact.off, dtype, f"{mode.name} {tokens}")


@pytest.mark.parametrize("rows", [(64, 32, 17), (64, 32), (32,)], ids=str)
def test_norm_before_and_rotated_heads_after(harness: Harness, rows: tuple[int, ...]) -> None:
    each, w, slack = case("q4_k", rows)
    turns = min(sum(rows), 96)
    for tokens in (1, 3):
        norm, turn = Norm(draw(1, 512, mx.float32)[0], EPS), Turn(table(range(7, 7 + tokens), 16), turns, 16)
        x = draw(tokens, 512, mx.float32)
        slacks = np.concatenate([np.broadcast_to(s, one.shape) for s, one in zip(slack, w, strict=True)])
        exact = Exact(floats(x), np.concatenate(w), slacks, norm)
        cosines = floats(turn.table)
        want, off = exact.value.copy(), exact.off.copy()
        want[:, :turns] = rotated(want[:, :turns].reshape(tokens, -1, 16), cosines).reshape(tokens, -1)
        pair = off[:, :turns].reshape(tokens, -1, 2, 8) + 4 * U * np.abs(exact.value[:, :turns]).reshape(
            tokens, -1, 2, 8
        )
        off[:, :turns] = np.repeat(pair.sum(axis=2, keepdims=True), 2, axis=2).reshape(tokens, -1)
        y = fused(harness.factory(CHECKED), each, x, Around(norm=norm, turn=turn))
        within(y, want, off, mx.float32, f"{rows} {tokens}")


def stacks(stem: str, count: int) -> tuple[list[Any], list[Numbers]]:
    tensors = [[ordinary(stem, (21, 512), 3 * n + seed) for seed in range(3)] for n in range(count)]
    return [packed(*some) for some in tensors], [np.stack([oracle(t).astype(np.float64) for t in s]) for s in tensors]


@pytest.mark.parametrize("stem, dtype, mode", SAMPLE[:4], ids=str)
def test_experts(harness: Harness, stem: str, dtype: mx.Dtype, mode: Mode) -> None:
    """Gate and up of the experts that two tokens name; then their products down, by score, and the residual."""
    each, w = stacks(stem, 2)
    named, scores = np.array([2, 0, 1, 1]), np.array([0.25, 0.75, 0.5, 0.125], np.float32)
    slack = 4 * np.abs(np.stack(w)).max()  # codes and minima, of which none is larger than a weight by more
    x = draw(2, 512, dtype, 0.002 * scale(w))
    make = harness.factory(mode)
    experts = Experts(mx.array(named), 2)
    got = fused(make, each, x, Around(act="silu", experts=experts))
    parts = [
        activated("silu", *(Exact(floats(x)[line // 2][None], one[e], np.full_like(one[e], slack / 4)) for one in w))
        for line, e in enumerate(named)
    ]
    within(got, *(np.concatenate(both) for both in zip(*parts, strict=True)), dtype, mode.name)
    h, more = draw(4, 512, dtype, scale(w)), draw(2, 21, dtype)
    down = Experts(mx.array(named), 2, mx.array(scores).astype(dtype))
    got = fused(make, each[:1], h, Around(more=more, experts=down))
    each_line = [Exact(floats(h)[n][None], w[0][e], np.full_like(w[0][e], slack / 4)) for n, e in enumerate(named)]
    want = np.stack([sum(scores[n] * each_line[n].value[0] for n in pair) for pair in ((0, 1), (2, 3))])
    off = np.stack([sum(2 * scores[n] * each_line[n].off[0] for n in pair) for pair in ((0, 1), (2, 3))])
    within(got, want + floats(more), off, dtype, f"down {mode.name}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("head", [64, 80])
def test_normed_and_rotated_heads(harness: Harness, dtype: mx.Dtype, head: int) -> None:
    q, k, gain = (
        draw(6, head, dtype).reshape(2, 3, head),
        draw(2, head, dtype).reshape(2, 1, head),
        draw(2, head, dtype),
    )
    t = table(range(9, 11), head)
    v = 2 * k
    y = turned(harness.factory(CHECKED), (q, k, v), Norm(gain.reshape(-1), EPS), t)
    assert mx.array_equal(y[:, 4:], v)
    y = y[:, :4]
    heads, gains = np.concatenate([floats(q), floats(k)], axis=1), np.repeat(floats(gain), [3, 1], axis=0)
    normed = heads / np.sqrt((heads**2).mean(axis=-1, keepdims=True) + EPS) * gains
    off = (head + 16) * U * np.abs(normed).reshape(2, 4, 2, -1).sum(axis=2)
    within(y, rotated(normed, floats(t)), np.concatenate([off, off], axis=-1), dtype)
    theirs = [
        mx.fast.rms_norm(a.astype(mx.float32), g.astype(mx.float32), EPS) for a, g in ((q, gain[0]), (k, gain[1]))
    ]
    both = mx.concatenate(theirs, axis=1).transpose(1, 0, 2)
    turns = mx.fast.rope(both, head, traditional=False, base=10000.0, scale=1.0, offset=9).transpose(1, 0, 2)
    allowed = 2e-6 if dtype == mx.float32 else 4 * HALF_STEP[dtype]  # MLX's angles are float32
    assert mx.abs(y.astype(mx.float32) - turns).max() <= allowed * mx.abs(turns).max()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("head", [64, 80])
def test_biased_and_rotated_heads(harness: Harness, dtype: mx.Dtype, head: int) -> None:
    q, k, v = (draw(2 * n, head, dtype).reshape(2, n, head) for n in (3, 2, 2))
    biases, t = draw(1, 7 * head, dtype)[0], table(range(9, 11), head)
    for mode in (CHECKED, FLUSH):
        y = turned(harness.factory(mode), (q, k, v), biases, t)
        heads = np.concatenate([floats(q), floats(k), floats(v)], axis=1) + floats(biases).reshape(1, 7, head)
        off = 6 * U * np.abs(heads).reshape(2, 7, 2, -1).sum(axis=2)
        want = np.concatenate([rotated(heads[:, :5], floats(t)), heads[:, 5:]], axis=1)
        within(y, want, np.concatenate([off, off], axis=-1), dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_norm_of_what_is_added(harness: Harness, dtype: mx.Dtype) -> None:
    x, more, gain = draw(2, 300, dtype), 3 * draw(2, 300, dtype), draw(1, 300, dtype)[0]
    v = floats(x)
    normed = v / np.sqrt((v**2).mean(axis=-1, keepdims=True) + EPS) * floats(gain)
    y = norm_add(harness.factory(CHECKED), x, more, Norm(gain, EPS))
    within(y, normed + floats(more), 308 * U * np.abs(normed), dtype)
    if dtype == mx.float16:
        huge = norm_add(harness.factory(FAST), x, 0 * more + 65504, Norm(gain, EPS))
        assert mx.isfinite(huge).all() and (huge == 65504).any()


@pytest.mark.parametrize("experts, chosen, shared", [(40, 5, True), (8, 2, False), (128, 8, True), (3, 3, True)])
def test_the_router(harness: Harness, experts: int, chosen: int, shared: bool) -> None:
    x = draw(3, experts, mx.float32, 4.0)
    score, expert = route(harness.factory(CHECKED), x, chosen, shared)
    p = mx.softmax(x, axis=-1, precise=True)
    order = mx.argsort(-p, axis=-1)[:, :chosen]
    want = mx.take_along_axis(p, order, axis=-1)
    want = want / want.sum(axis=-1, keepdims=True) if shared else want
    assert mx.array_equal(order, expert) and expert.dtype == mx.uint32
    assert (mx.abs(score - want) <= 32 * U * want + 2.0**-126).all()
    alike = route(harness.factory(FAST), mx.zeros((1, experts)), chosen, shared)
    assert alike[1].tolist() == [list(range(chosen))]


TWINS = [("q4_k", mx.float32), ("iq3_s", mx.float16), ("fp8_e4m3_channel", mx.bfloat16), ("gptq_3bit_g64", mx.float32)]


@pytest.mark.parametrize("name, dtype", TWINS, ids=str)
def test_twins_are_equal(harness: Harness, name: str, dtype: mx.Dtype) -> None:
    metal, nvidia = harness.factory(FAST), partial(translated, CudaHarness(harness).factory(CHECKED))
    for at in launches(*matrices(name), dtype):
        assert mx.array_equal(at.call(metal), at.call(nvidia)), at.name
    for call in plain_calls(dtype):
        assert mx.array_equal(call(metal), call(nvidia))
