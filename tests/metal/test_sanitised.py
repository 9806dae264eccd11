"""Kernels under g++'s sanitisers: bodies and helpers on a few formats; LOCALQ_PROVE=1 takes every struct."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from localq_metal import quantize
from localq_metal.dequantize import dequantize, rows
from localq_metal.gather import gather
from localq_metal.hadamard import hadamard
from localq_metal.qmm import qmm, sorted_qmm
from localq_metal.qmv import qmv, qmv_few
from localq_metal.qvm import qvm
from localq_metal.several import several
from tests.metal.around import launches, matrices, plain_calls
from tests.metal.blocks import STEMS, every_kind, oracle, ordinary, packed
from tests.metal.harness import FAST, SANITISED, Harness, KernelError, missing
from tests.metal.sanitised import missing as no_sanitisers
from tests.metal.test_layouts import NAMES, between, drawn, held
from tests.metal.test_products import within

pytestmark = pytest.mark.skipif(bool(missing() or no_sanitisers()), reason=missing() or no_sanitisers() or "here")
SAMPLE = ("q4_k", "iq3_s")
FAMILIES = ("hqq_3bit_g64", "exl3_2.5bit_mul1")  # the others are slow
FAULTS = {  # body: (faulty, sound, what is said); the input is 0, 1, 2, ...
    "past a private array": (
        "float v[4]; for (uint k = 0; k < 4; k++) v[k] = x[k]; o[i] = v[(i & 7)];",
        "float v[4]; for (uint k = 0; k < 4; k++) v[k] = x[k]; o[i] = v[(i & 3)];",
        "out of bounds",
    ),
    "past what a function was given": (
        "float v[4]; fill(v, 5); o[i] = v[0] + x[i];",
        "float v[4]; fill(v, 4); o[i] = v[0] + x[i];",
        "stack-buffer-overflow|insufficient space",
    ),
    "past an input": ("o[i] = x[i + 1];", "o[i] = x[(i + 1) & 63];", "heap-buffer-overflow"),
    "a misaligned load": (
        "o[i] = float(*(const device ushort*)((const device uint8_t*)x + 2 * i + 1));",
        "o[i] = float(*(const device ushort*)((const device uint8_t*)x + 2 * i));",
        "misaligned address",
    ),
    "a shift by the width": (
        "o[i] = float(1u << uint(x[i]));",
        "o[i] = float(1u << (uint(x[i]) & 31));",
        "shift exponent",
    ),
    "a signed overflow": (
        "o[i] = float(int(x[i]) * 0x4000000);",
        "o[i] = float(int(x[i]) * 0x40000);",
        "signed integer overflow",
    ),
    "a float that no integer holds": (
        "o[i] = float(uint(x[i] - 1.0f));",
        "o[i] = float(int(x[i] - 1.0f));",
        "outside the range of representable values",
    ),
    "a variable that nobody set": (
        "float v; if (x[i] > 3.0f) v = 1.0f; o[i] = v;",
        "float v = 0.0f; if (x[i] > 3.0f) v = 1.0f; o[i] = v;",
        "uninitialised",
    ),
}
FILL = "METAL_FUNC void fill(thread float* v, uint n) { for (uint k = 0; k < n; k++) v[k] = float(k); }\n"


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found(harness: Harness, name: str) -> None:
    faulty, sound, says = FAULTS[name]

    def run(body: str) -> None:
        start = "uint i = thread_position_in_grid.x;\n"
        how: dict[str, Any] = {"name": "fault", "input_names": ["x"], "output_names": ["o"], "header": FILL}
        shape: dict[str, Any] = {"grid": (64, 1, 1), "threadgroup": (64, 1, 1), "output_shapes": [(64,)]}
        kernel = harness.factory(SANITISED)(source=start + body, **how)
        kernel(inputs=[mx.arange(64).astype(mx.float32)], output_dtypes=[mx.float32], **shape)

    run(sound)
    with pytest.raises(KernelError, match=says):
        run(faulty)


@pytest.mark.parametrize("stem", [s if s in SAMPLE else pytest.param(s, marks=pytest.mark.slow) for s in sorted(STEMS)])
def test_structs_of_ggml(harness: Harness, stem: str) -> None:
    make, t = harness.factory(SANITISED), every_kind(stem, 768)
    assert np.array_equal(np.array(dequantize(make, packed(t), mx.float32)), oracle(t), equal_nan=True)
    plain = ordinary(stem, (9, 768))
    x = mx.random.normal((1, 768), key=mx.random.key(0)) / float(np.abs(oracle(plain)).max())
    within(qmv(make, packed(plain), x), x, oracle(plain).T)


@pytest.mark.parametrize("name", [n if n in FAMILIES else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_structs_of_other_formats(harness: Harness, name: str) -> None:
    make, two = harness.factory(SANITISED), [drawn(name, seed=seed) for seed in range(2)]
    stack, w = held(*two), np.stack([between(t) for t in two])
    assert np.array_equal(np.array(dequantize(make, stack, mx.float32)), w, equal_nan=True)
    x = mx.random.normal((2, w.shape[-1]), key=mx.random.key(0))
    within(gather(make, stack, x, mx.array([1, 0])), x, w[[1, 0]].swapaxes(1, 2))


def test_bodies(harness: Harness) -> None:
    """Every one, with sizes that are multiples of nothing."""
    make, two = harness.factory(SANITISED), [ordinary("q4_k", (21, 256), seed) for seed in range(2)]
    one, stack, w = packed(two[0]), packed(*two), np.stack([oracle(t) for t in two])
    x, back = (mx.random.normal((35, n), key=mx.random.key(n)) for n in (256, 21))
    named = [1, 0, 1]
    assert np.array_equal(np.array(rows(make, one, mx.array([20, 3]), mx.float32)), w[0][[20, 3]])
    within(qmv_few(make, one, x[:5]), x[:5], w[0].T)
    within(qmm(make, one, x), x, w[0].T)
    within(sorted_qmm(make, stack, x[:3], mx.array(named)), x[:3], w[named].swapaxes(1, 2))
    within(qvm(make, one, back[:2]), back[:2], w[0])
    within(qvm(make, stack, back[:3], mx.array(named)), back[:3], w[named])
    for y, each in zip(several(make, [one, packed(two[1])], x[:1]), w, strict=True):
        within(y, x[:1], each.T)


@pytest.mark.parametrize(
    "name",
    ["q4_k", *(pytest.param(n, marks=pytest.mark.slow) for n in (*sorted(STEMS), *NAMES) if n != "q4_k")],
)
def test_bodies_of_a_fused_layer(harness: Harness, name: str) -> None:
    """Watched, each gives what it gives unwatched."""
    watched, plain = harness.factory(SANITISED), harness.factory(FAST)
    calls = [at.call for at in launches(*matrices(name), mx.float32)]
    for call in (*calls, *plain_calls(mx.float32)):
        assert mx.array_equal(call(watched), call(plain))


@pytest.mark.parametrize(
    "dtype", [mx.bfloat16, *(pytest.param(d, marks=pytest.mark.slow) for d in (mx.float16, mx.float32))]
)
def test_kernels_without_a_format(harness: Harness, dtype: mx.Dtype) -> None:
    make, w = harness.factory(SANITISED), mx.random.normal((5, 96), key=mx.random.key(1)).astype(dtype)
    for mine, right in zip(quantize.affine(make, w, 32, 3), mx.quantize(w, 32, 3), strict=True):
        assert mx.array_equal(mine, right)
    assert mx.array_equal(quantize.to_fp8(make, w), mx.to_fp8(w))
    codes, scales = quantize.floating(make, w, "mxfp4")
    assert mx.allclose(mx.dequantize(codes, scales, mode="mxfp4"), w.astype(mx.bfloat16), atol=1.0)
    assert mx.allclose(hadamard(make, w, 32)[0, 0], w[0, :32].astype(mx.float32).sum(), atol=1e-2)
