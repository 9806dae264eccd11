"""The harness on Metal sources known to be right: MLX's own `quantized.h`, as its wheel ships it, against MLX's CPU.

If the executor misread Metal, MLX's kernels would come out wrong in it too.
"""

from __future__ import annotations

import re
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tests.metal.harness import CHECKED, FAST, MLX_INCLUDE, NUMPY, Harness, Mode, _aligned, _array, _bytes, launch
from tests.metal.translate import ENTRY, PRELUDE, Parameter, _shared_storage

FOLDER = "mlx/backend/metal/kernels/"
VECTORS = """namespace metal {  // what steel does with them, and no kernel of ours
template <class T> vec<T, 2> operator-(vec<T, 2> a, vec<T, 2> b) { return vec<T, 2>(a.x - b.x, a.y - b.y); }
template <class T> T quad_sum(T);  // of kernels not run here
template <class T> vec<T, 2>& operator-=(vec<T, 2>& a, vec<T, 2> b) { return a = a - b; }
}
"""
WITH = VECTORS + "".join(
    f'#include "{FOLDER}{name}"\n' for name in ("steel/gemm/loader.h", "steel/gemm/mma.h", "quantized_utils.h")
)
NAMES = {mx.float32: "float", mx.float16: "float16_t", mx.bfloat16: "bfloat16_t"}
ROWS, COLUMNS, GROUP = 64, 512, 64


def run(harness: Harness, name: str, arrays: dict[str, mx.array], how: tuple[Any, ...], mode: Mode) -> mx.array:
    """The 4-bit kernel `name` of quantized.h; `how`: more template, shape of the result, grid, threadgroup."""
    rest, shape, grid, threadgroup = how
    dtype = arrays["scales"].dtype
    text = (MLX_INCLUDE / FOLDER / "quantized.h").read_text(encoding="utf-8")
    text = re.sub(r"constant bool (align_[MNK]) \[\[[^\]]*\]\]", r"constant bool \1 = true", text)
    text = _shared_storage(re.sub(r"//[^\n]*", "", text))
    found = re.search(rf"\[\[kernel\]\] void {name}\((.*?)\)\s*\{{", text, re.S)
    assert found
    arguments: list[str] = []
    buffers: list[tuple[Any, Parameter]] = []
    for line in re.split(r",\n", found[1]):
        kind, called, attribute = re.fullmatch(r"\s*(.+?)\s+(\w+)\s*\[\[(\w+)(?:\(\d+\))?\]\]\s*", line, re.S).groups()  # type: ignore[union-attr]
        if attribute != "buffer":
            width = kind[-1] if kind[-1] in "23" else ""
            ids = [f"i->{attribute}[{axis}]" for axis in range(int(width or 1))] if width else [f"i->{attribute}"]
            arguments.append(f"{kind}({', '.join(ids)})")
            continue
        at = f"buffers[{len(buffers)}]"
        pointed = re.sub(r"\b(device|constant)\b", "", kind).replace("&", "*").strip()
        arguments.append(f"*({pointed}){at}" if "&" in kind else f"lq_any{{{at}}}")
        output = called in ("out", "y")
        if output:
            data = _aligned(int(np.prod(shape)) * np.dtype(NUMPY[dtype]).itemsize, 0)
            result = data
        else:
            data = _bytes(arrays[called], 0) if called in arrays else np.zeros(128, np.uint8)
        buffers.append((data, Parameter(called, output)))
    template = f"{NAMES[dtype]}, {GROUP}, 4{rest}"
    entry = ENTRY.format(call=f"{name}<{template}>", arguments=", ".join(arguments))
    library = harness.library('#line 1 "kernel"\n' + text + '\n#line 1 "entry"\n' + entry, mode, PRELUDE + WITH)
    launch(library, buffers, grid, threadgroup, mode)
    return _array(result, shape, dtype)


def packed(dtype: mx.Dtype) -> tuple[dict[str, mx.array], mx.array]:
    """Arrays of a quantised matrix, and its weights as MLX's CPU decodes them."""
    w = mx.random.normal((ROWS, COLUMNS), key=mx.random.key(0)).astype(dtype)
    codes, scales, biases = mx.quantize(w, GROUP, 4)
    return {"w": codes, "scales": scales, "biases": biases}, mx.dequantize(codes, scales, biases, GROUP, 4)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16], ids=str)  # bfloat16: the shim has no int times bfloat
def test_dequantize_is_bit_for_bit_that_of_the_cpu(harness: Harness, dtype: mx.Dtype) -> None:
    arrays, want = packed(dtype)
    arrays["w"] = arrays["w"].view(mx.uint8)
    for mode in (FAST, CHECKED) if dtype == mx.float32 else (FAST,):
        how = ("", (ROWS, COLUMNS), (ROWS * COLUMNS // 2, 1, 1), (256, 1, 1))
        assert mx.array_equal(run(harness, "affine_dequantize", arrays, how, mode), want)


@pytest.mark.parametrize("dtype, bound", [(mx.float32, 2e-6), (mx.float16, 2e-3), (mx.bfloat16, 1.6e-2)], ids=str)
def test_a_product_is_near_float64(harness: Harness, dtype: mx.Dtype, bound: float) -> None:
    arrays, w = packed(dtype)
    x = mx.random.normal((1, COLUMNS), key=mx.random.key(1)).astype(dtype)
    numbers = {"in_vec_size": COLUMNS, "out_vec_size": ROWS}
    arrays |= {"x": x, **{n: mx.array([v], mx.int32) for n, v in numbers.items()}}
    how: tuple[Any, ...] = (", false", (1, ROWS), (32, 2 * ROWS // 8, 1), (32, 2, 1))
    got = np.array(run(harness, "affine_qmv_fast", arrays, how, FAST).astype(mx.float32))
    want = np.array(x.astype(mx.float32)).astype(np.float64) @ np.array(w.astype(mx.float32)).astype(np.float64).T
    assert np.abs(got - want).max() < bound * np.abs(want).max()


@pytest.mark.parametrize("dtype, bound", [(mx.float32, 2e-6), (mx.bfloat16, 1.6e-2)], ids=str)
def test_steel_is_near_float64(harness: Harness, dtype: mx.Dtype, bound: float) -> None:
    """`affine_qmm_t`: tiles in threadgroup memory, multiplied by simdgroup matrices; its memory watched in float32."""
    arrays, w = packed(dtype)
    tokens = 33  # a tile of 32 and one row of another
    x = mx.random.normal((tokens, COLUMNS), key=mx.random.key(1)).astype(dtype)
    numbers = {"K": COLUMNS, "N": ROWS, "M": tokens}
    arrays |= {"x": x, **{n: mx.array([v], mx.int32) for n, v in numbers.items()}}
    how: tuple[Any, ...] = (", true, false", (tokens, ROWS), (32 * ROWS // 32, 2 * 2, 2), (32, 2, 2))
    want = np.array(x.astype(mx.float32)).astype(np.float64) @ np.array(w.astype(mx.float32)).astype(np.float64).T
    for mode in (FAST, CHECKED) if dtype == mx.float32 else (FAST,):
        got = np.array(run(harness, "affine_qmm_t", arrays, how, mode).astype(mx.float32))
        assert np.abs(got - want).max() < bound * np.abs(want).max(), mode.name
