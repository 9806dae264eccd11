"""Every kernel's text keeps Metal's address spaces apart: what a C++ compiler cannot see and Apple's would refuse."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from localq_metal import quantize
from localq_metal.dequantize import dequantize, rows
from localq_metal.fused import Around, Experts, Norm, Turn, fused
from localq_metal.gather import gather
from localq_metal.hadamard import hadamard
from localq_metal.norm_add import norm_add
from localq_metal.qmm import qmm, sorted_qmm
from localq_metal.qmv import qmv, qmv_few
from localq_metal.qvm import qvm
from localq_metal.route import route
from localq_metal.turned import turned
from tests.metal.blocks import STEMS, ordinary, packed
from tests.metal.harness import FAST, Harness, Kernel
from tests.metal.spaces import findings, missing
from tests.metal.test_layouts import NAMES, drawn, held

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "here")
HEADER = """
METAL_FUNC float twice(const device float* p, uint i) { return 2 * p[i]; }
constant float table[2] = {1, 2};
"""
FAULTS = {  # body: elements of its input
    "o[0] = twice(x, 0);": 4,  # fewer than 8: MLX puts them into constant memory
    "threadgroup float s[4]; s[0] = 1; o[0] = twice(s, 0) + x[0];": 64,
    "table[0] = 3; o[0] = table[0] + x[0];": 64,
    "o[0] = x[0]; x[1] = 2;": 64,
    "float* p = o; p[0] = x[0];": 64,
    "thread float* p = &o[0]; *p = x[0];": 64,
    "double d = 1; o[0] = float(d) + x[0];": 64,
    "o[0] = 0.5 * x[0];": 64,
    "for (int i = 0; i < 2; i++) { threadgroup float s[4]; s[i] = 1; } o[0] = x[0];": 64,
    "static float s = 0; o[0] = x[0] + s;": 64,
}


class Texts:
    """A factory that launches nothing: it keeps what MLX writes."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, **made: Any) -> Any:
        kernel = Kernel(None, FAST, made)  # type: ignore[arg-type]

        def launch(**call: Any) -> list[mx.array]:
            self.seen.append(kernel.text(call))
            return [mx.zeros(s, d) for s, d in zip(call["output_shapes"], call["output_dtypes"], strict=True)]

        return launch


def check(call: Any) -> None:
    texts = Texts()
    call(texts)
    assert texts.seen
    for text in texts.seen:
        assert findings(text) == []


def decoding(one: Any, dtype: mx.Dtype) -> None:
    """All that a struct has: `decode16` and `dot`."""
    check(lambda f: dequantize(f, one, dtype))
    check(lambda f: qmv(f, one, mx.zeros((1, one.shape[1]), dtype)))


def every_operation(one: Any, stack: Any, dtype: mx.Dtype) -> None:
    x, which = mx.zeros((16, one.shape[1]), dtype), mx.zeros((16,), mx.uint32)
    back = mx.zeros((16, one.shape[0]), dtype)
    check(lambda f: rows(f, one, which, dtype))
    check(lambda f: qmv_few(f, one, x))
    check(lambda f: qmm(f, one, x))
    check(lambda f: gather(f, stack, x, which))
    check(lambda f: sorted_qmm(f, stack, x, which))
    check(lambda f: qvm(f, one, back))
    check(lambda f: qvm(f, stack, back, which))


@pytest.mark.parametrize("stem", sorted(STEMS))
def test_kernels_of_ggml_types(stem: str) -> None:
    decoding(packed(ordinary(stem, (64, 512))), mx.bfloat16)


@pytest.mark.parametrize("name", NAMES)
def test_kernels_of_other_formats(name: str) -> None:
    decoding(held(drawn(name, 512, 2048)), mx.float16)


@pytest.mark.parametrize("stem", ["q4_k", "iq2_xxs"])
def test_bodies(stem: str) -> None:
    """They know a format by its struct alone."""
    tensors = [ordinary(stem, (64, 512), seed) for seed in range(2)]
    every_operation(packed(tensors[0]), packed(*tensors), mx.bfloat16)


def test_bodies_of_layers() -> None:
    tensors = [ordinary("q4_k", (64, 512), seed) for seed in range(2)]
    each, stack = [packed(t) for t in tensors], [packed(t, t) for t in tensors]
    x, more, which = mx.zeros((8, 512), mx.float16), mx.zeros((8, 64), mx.float16), mx.zeros((4,), mx.uint32)
    norm, heads = Norm(mx.zeros((512,), mx.float16), 1e-6), x.reshape(8, 8, 64)
    turn, scores = Turn(mx.zeros((8, 64)), 128, 64), mx.zeros((4,), mx.float16)
    for m in (1, 8):
        check(lambda f, m=m: fused(f, each, x[:m], Around(norm=norm, act="gelu")))
        check(lambda f, m=m: fused(f, each, x[:m], Around(norm=norm, turn=Turn(turn.table[:m], 128, 64))))
        check(lambda f, m=m: fused(f, each[:1], x[:m], Around(more=more[:m])))
    check(lambda f: fused(f, stack, x[:2], Around(act="silu", experts=Experts(which, 2))))
    check(lambda f: fused(f, stack[:1], x[:4], Around(more=more[:2], experts=Experts(which, 2, scores))))
    check(lambda f: turned(f, (heads, heads, heads), Norm(norm.gain[:128], 1e-6), turn.table))
    check(lambda f: turned(f, (heads, heads, heads), mx.zeros(3 * heads[0].size, heads.dtype), turn.table))
    check(lambda f: norm_add(f, x, x, norm))
    check(lambda f: route(f, more, 8, True))


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16], ids=str)
def test_kernels_without_a_format(dtype: mx.Dtype) -> None:
    w = mx.zeros((8, 128), dtype)
    check(lambda f: hadamard(f, w, 128))
    check(lambda f: quantize.affine(f, w, 64, 4))
    check(lambda f: quantize.floating(f, w, "nvfp4"))
    check(lambda f: quantize.to_fp8(f, w))


@pytest.mark.parametrize("body", FAULTS)
def test_faults_are_found(body: str) -> None:
    def call(body: str, count: int) -> list[str]:
        texts = Texts()
        kernel = texts(name="fault", input_names=["x"], output_names=["o"], source=body, header=HEADER)
        kernel(inputs=[mx.zeros((count,))], **shape)
        return findings(texts.seen[0])

    shape: dict[str, Any] = {"grid": (64, 1, 1), "threadgroup": (64, 1, 1)}
    shape |= {"output_shapes": [(64,)], "output_dtypes": [mx.float32]}
    assert call("o[0] = twice(x, 0) + table[1];", 64) == []
    assert call(body, FAULTS[body])


def test_the_harness_is_not_needed(harness: Harness) -> None:
    """Its own text of a kernel is what is checked here."""
    one = packed(ordinary("q4_k", (8, 256)))
    texts = Texts()
    dequantize(texts, one, mx.float32)
    assert "[[kernel]] void" in texts.seen[0]
