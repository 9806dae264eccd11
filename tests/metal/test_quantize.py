"""Quantising kernels against MLX's CPU functions and ml_dtypes: the same bytes, in every mode of the executor."""

from __future__ import annotations

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from localq_metal import quantize, source
from tests.metal.harness import CHECKED, FAST, FLUSH, FMA, Harness, Mode

DTYPES = (mx.float32, mx.float16, mx.bfloat16)


def weights(dtype: mx.Dtype, columns: int = 384) -> mx.array:
    """9 rows: ordinary ones, one-signed ones, zeros, one value, a grid of half-way codes, large and tiny ones."""
    rng = np.random.default_rng(5)
    w = rng.standard_normal((9, columns)).astype(np.float32)
    w[1], w[2], w[3], w[4] = np.abs(w[1]) + 0.1, -np.abs(w[2]) - 0.1, 0.0, -0.75
    w[5] = rng.integers(-8, 9, columns) / 2
    w[6] *= 6e3
    w[7] *= 1e-4
    w[8, ::7] = 0.0
    return mx.array(w).astype(dtype)


def same(got: tuple[mx.array, ...], want: tuple[mx.array, ...]) -> None:
    assert len(got) == len(want)
    for mine, right in zip(got, want, strict=True):
        assert mine.dtype == right.dtype and mine.shape == right.shape
        kind = {4: mx.uint32, 2: mx.uint16, 1: mx.uint8}[mine.dtype.size]
        wrong = np.argwhere(np.array(mine.view(kind)) != np.array(right.view(kind)))
        assert len(wrong) == 0, f"{len(wrong)} of {mine.size} differ, the first at {wrong[0]}"


@pytest.mark.parametrize("bits", [b for b in quantize.BITS if b != 1])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_affine_is_that_of_mlx_on_a_cpu(harness: Harness, bits: int, dtype: mx.Dtype) -> None:
    w = weights(dtype)
    groups = quantize.GROUPS if dtype == mx.float32 else (quantize.GROUPS[bits % 3],)
    for group in groups:
        watched = (CHECKED,) if group == 32 and dtype == mx.float32 else ()
        for mode in (FAST, *watched):
            same(quantize.affine(harness.factory(mode), w, group, bits), tuple(mx.quantize(w, group, bits)))


@pytest.mark.parametrize("mode", [FLUSH, FMA], ids=lambda m: m.name)
def test_affine_depends_on_nothing_that_metal_leaves_open(harness: Harness, mode: Mode) -> None:
    w = weights(mx.float32)
    same(quantize.affine(harness.factory(mode), w, 64, 4), tuple(mx.quantize(w, 64, 4)))


def by_ml_dtypes(w: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Codes (one in a byte) and scale codes of float32 `w`: OCP's conversions as ml_dtypes rounds, half-way to even."""
    group, bits = quantize.FLOATS[kind]
    each = w.reshape(-1, group)
    top = (np.abs(each).max(axis=1) / np.float32(6 if bits == 4 else 448)).astype(np.float32)
    if kind == "nvfp4":
        scales = np.minimum(top, 448).astype(ml_dtypes.float8_e4m3fn)
    else:
        mantissa, exponent = np.frexp(top)
        power = np.where(top > 0, exponent - (mantissa == 0.5), -127)
        scales = np.ldexp(np.float32(1), power).astype(ml_dtypes.float8_e8m0fnu)
    size = scales.astype(np.float32)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        q = np.where(size == 0, 0, each / size)
    q = np.clip(q, -448, 448).astype(ml_dtypes.float8_e4m3fn) if bits == 8 else q.astype(ml_dtypes.float4_e2m1fn)
    return q.view(np.uint8).reshape(-1) & (255 if bits == 8 else 15), scales.view(np.uint8)


def codes_of(packed: mx.array, bits: int) -> np.ndarray:
    each = np.array(packed.view(mx.uint8)).reshape(-1)
    return each if bits == 8 else np.stack([each & 15, each >> 4], axis=1).reshape(-1)


@pytest.mark.parametrize("kind", sorted(quantize.FLOATS))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_small_floats_are_rounded_as_ml_dtypes_does(harness: Harness, kind: str, dtype: mx.Dtype) -> None:
    for w in (weights(dtype), weights(dtype)[:3, :48] if kind == "nvfp4" else weights(dtype)[:3, :96]):
        codes, scales = by_ml_dtypes(np.array(w.astype(mx.float32)), kind)
        for mode in (FAST, CHECKED) if dtype == mx.float32 else (FAST,):
            got = quantize.floating(harness.factory(mode), w, kind)
            assert np.array_equal(np.array(got[1]).reshape(-1), scales), mode.name
            assert np.array_equal(codes_of(got[0], quantize.FLOATS[kind][1]), codes), mode.name


@pytest.mark.parametrize("kind", sorted(quantize.FLOATS))
def test_small_floats_and_mlx_on_a_cpu_differ_where_two_codes_are_as_near(harness: Harness, kind: str) -> None:
    """MLX's CPU takes the first of the nearest, +0 for -0 and 2^0 as the scale of zeros; all else is the same."""
    w = weights(mx.float32)
    mine, right = quantize.floating(harness.factory(), w, kind), tuple(mx.quantize(w, mode=kind))
    assert [a.shape for a in mine] == [a.shape for a in right] and [a.dtype for a in mine] == [a.dtype for a in right]
    differ = np.array(mine[1]) != np.array(right[1])
    assert not differ[[r for r in range(len(w)) if r != 3]].any()  # row 3 is zeros
    values = [np.array(mx.dequantize(*a, mode=kind, dtype=mx.float32)).astype(np.float64) for a in (mine, right)]
    far = [np.abs(v - np.array(w)) for v in values]
    assert np.array_equal(far[0], far[1]) or np.allclose(far[0], far[1], rtol=1e-6, atol=0)
    assert (np.array(mine[0]) == np.array(right[0])).mean() > (0.9 if kind == "mxfp8" else 0.5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fp8_codes_are_those_of_mlx_on_a_cpu(harness: Harness, dtype: mx.Dtype) -> None:
    """Every float16, which holds every E4M3 value, every half-way point and what is too large; and NaN."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    w = mx.array(halves[:: 1 if dtype == mx.float16 else 5].astype(np.float32)).astype(dtype)
    for mode in (FAST, FMA) if dtype == mx.float32 else (FAST,):
        same((quantize.to_fp8(harness.factory(mode), w),), (mx.to_fp8(w),))
    same((quantize.to_fp8(harness.factory(CHECKED), w[:100]),), (mx.to_fp8(w[:100]),))


@pytest.mark.parametrize("name", sorted(quantize.OUTPUTS))
def test_text_is_short(name: str) -> None:
    assert len(source.body(name)) + len(quantize.small_floats()) < source.LIMIT
