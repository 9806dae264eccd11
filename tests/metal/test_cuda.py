"""The CUDA twin of every kernel, run on the executor: bit for bit what the Metal text gives. No GPU takes part."""

from __future__ import annotations

from functools import partial
from typing import Any

import mlx.core as mx
import pytest

from localq.kernels import costs, product, tuning
from localq_metal import qmv as qmv_file
from localq_metal import qvm as qvm_file
from localq_metal.cuda import translated
from localq_metal.dequantize import dequantize, rows
from localq_metal.gather import gather
from localq_metal.hadamard import hadamard
from localq_metal.qmv import qmv, qmv_few
from localq_metal.qvm import qvm
from tests.metal.blocks import STEMS, ordinary, packed
from tests.metal.cuda import CudaHarness
from tests.metal.harness import CHECKED, FAST, Harness


@pytest.fixture
def cuda(harness: Harness) -> Any:
    return lambda mode: partial(translated, CudaHarness(harness).factory(mode))


@pytest.mark.parametrize("stem", sorted(STEMS))
def test_twins_are_equal(harness: Harness, cuda: Any, stem: str) -> None:
    """At the sizes of the tests of the Metal text, whose builds are used again."""
    one, x = packed(ordinary(stem, (21, 768))), mx.random.normal((1, 768), key=mx.random.key(0))
    assert mx.array_equal(qmv(harness.factory(FAST), one, x), qmv(cuda(FAST), one, x))
    wanted = dequantize(harness.factory(FAST), one, mx.float16)
    assert mx.array_equal(wanted, dequantize(cuda(FAST), one, mx.float16), equal_nan=True)


@pytest.mark.parametrize("stem", ["q4_k", "iq2_xxs", "q8_0"])
def test_the_other_operations_too_and_memory_is_watched(harness: Harness, cuda: Any, stem: str) -> None:
    one, stack = packed(ordinary(stem, (21, 512))), packed(*(ordinary(stem, (9, 512), seed) for seed in range(3)))
    x = mx.random.normal((3, 512), key=mx.random.key(0))
    back, which = mx.random.normal((3, 9), key=mx.random.key(1)), mx.array([2, 0, 2], mx.uint32)
    metal, nvidia = harness.factory(FAST), cuda(CHECKED)
    for call in (
        lambda f: rows(f, one, mx.array([3, 20, 3]), mx.float32),
        lambda f: qmv_few(f, one, x),
        lambda f: gather(f, stack, x, which),
        lambda f: qvm(f, stack, back, which),
        lambda f: hadamard(f, x, 128),
    ):
        assert mx.array_equal(call(metal), call(nvidia))


def test_many_rows_of_experts_are_decoded_for_mlx(harness: Harness, cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are no tiles of simdgroup matrices on NVIDIA: a prompt's rows would each read a whole expert."""
    monkeypatch.setattr(tuning, "device_name", lambda: "NVIDIA H100")
    stack = packed(*(ordinary("q4_k", (9, 512), seed) for seed in range(3)))
    x, which = mx.random.normal((40, 512), key=mx.random.key(0)), mx.array([i % 3 for i in range(40)], mx.uint32)
    nvidia = cuda(FAST)
    assert costs.experts(40, 3, 4.5, 4, tuning.balance()) == "decoded"
    assert costs.experts(2, 3, 4.5, 4, tuning.balance()) == "each"
    one_by_one = gather(nvidia, stack, x, which)
    assert mx.allclose(
        product.experts(nvidia, stack, x, which), one_by_one, rtol=1e-4, atol=1e-3 * mx.abs(one_by_one).max()
    )


def test_more_rows_than_a_grid_has_are_cut(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    one, stack = packed(ordinary("q8_0", (5, 32))), packed(*(ordinary("q8_0", (5, 32), seed) for seed in range(3)))
    x, which = mx.random.normal((7, 32), key=mx.random.key(0)), mx.array([2, 0, 2, 1, 1, 0, 2], mx.uint32)
    back = mx.random.normal((7, 5), key=mx.random.key(1))
    metal = harness.factory(FAST)
    calls = [lambda: qmv(metal, one, x), lambda: gather(metal, stack, x, which), lambda: qvm(metal, stack, back, which)]
    whole = [call() for call in calls]
    for module in (qmv_file, qvm_file):
        monkeypatch.setattr(module, "MAX_ROWS", 3)
    assert all(mx.array_equal(call(), want) for call, want in zip(calls, whole, strict=True))
