"""Projections that share a launch: the products of each alone, bit for bit, and no launch more than needed."""

from __future__ import annotations

from collections import Counter

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from localq.kernels import own, registry
from localq.models.linear import PackedLinear
from localq.models.shared import share
from localq_metal.qmv import qmv
from localq_metal.several import fits, several
from tests.metal.blocks import ordinary, packed
from tests.metal.harness import CHECKED, FAST, Harness
from tests.metal.test_qmv import draw


@pytest.mark.parametrize("stem", ["q4_k", "q6_k", "q8_0", "iq3_s"])
@pytest.mark.parametrize("rows", [(21, 5, 6), (8, 24), (1, 1, 1)], ids=str)
def test_several_are_the_same_sums(harness: Harness, stem: str, rows: tuple[int, ...]) -> None:
    each = [packed(ordinary(stem, (n, 512), seed)) for seed, n in enumerate(rows)]
    x = draw(2, 512, mx.float32)
    make = harness.factory(CHECKED if stem == "q4_k" else FAST)
    got = several(make, each, x)
    assert len(got) == len(rows)
    assert all(mx.array_equal(y, qmv(make, p, x)) for y, p in zip(got, each, strict=True))


def test_formats_that_differ_do_not_fit() -> None:
    q4, q6 = (packed(ordinary(stem, (8, 256))) for stem in ("q4_k", "q6_k"))
    assert fits([q4, q4]) and not fits([q4, q6]) and not fits([q4]) and not fits([q4] * 4)


class Block(nn.Module):
    def __init__(self, kinds: tuple[str, str, str]) -> None:
        super().__init__()
        each = [PackedLinear([ordinary(k, (16, 256), i)], mx.float32) for i, k in enumerate(kinds)]
        self.q_proj, self.k_proj, self.v_proj = each


@pytest.fixture
def launched(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    counted: Counter[str] = Counter()
    real = harness.factory()

    def factory(**made):
        kernel = real(**made)

        def call(**how):
            counted[made["name"]] += 1
            return kernel(**how)

        return call

    monkeypatch.delenv("LOCALQ_KERNELS", raising=False)
    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(registry, "_VERDICTS", {})
    monkeypatch.setattr(registry, "_agrees", lambda *what: "")
    monkeypatch.setattr(own, "factory", lambda: factory)
    return counted


def products(block: Block, x: mx.array) -> list[np.ndarray]:
    return [np.array(layer(x)) for layer in (block.q_proj, block.k_proj, block.v_proj)]


def test_one_launch_for_a_token(launched: Counter[str]) -> None:
    block = Block(("q4_k",) * 3)
    block.eval()
    x = draw(1, 256, mx.float32)[None]
    want = products(block, x)
    assert share(block) == 1
    launched.clear()
    for _ in range(2):
        got = products(block, x)
        assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))
    assert launched == {"localq_several_q4_k": 2}
    many = draw(3, 256, mx.float32)[None]
    launched.clear()
    products(block, many)  # several tokens: each alone
    assert "localq_several_q4_k" not in launched and launched.total() == 3


def test_it_falls_back(launched: Counter[str]) -> None:
    mixed = Block(("q4_k", "q4_k", "q6_k"))
    assert share(mixed) == 0
    block = Block(("q4_k",) * 3)
    block.eval()
    assert share(block) == 1
    one, two = (draw(1, 256, mx.float32) * n for n in (1, 2))
    got = [np.array(block.q_proj(one)), np.array(block.k_proj(two))]  # not the same input: noticed, and given up
    assert np.array_equal(got[1], np.array(block.k_proj(two))) and block.q_proj.shared[0].apart
    block.train()
    launched.clear()
    block.q_proj(one)
    assert launched == {"localq_qmv_q4_k": 1}
