"""The repack of integer codes into MLX's affine: which sizes, which dtypes of scales, and how exactness is measured."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from localq.formats import find
from localq.formats.base import PackedTensor
from localq.formats.bits import pack
from localq.formats.integers import affine, affine_bits, affine_group, narrowest, native_bits
from tests.packed.native import decoded_by_mlx


@pytest.mark.parametrize(
    ("group", "width", "size"),
    [(16, 64, 0), (32, 64, 32), (64, 96, 32), (128, 192, 64), (256, 512, 128), (96, 96, 32), (4096, 4096, 128)],
)
def test_group_sizes_of_mlx_that_serve(group: int, width: int, size: int) -> None:
    assert affine_group(group, width) == size


def test_widths() -> None:
    assert [affine_bits(bits) for bits in range(1, 10)] == [1, 2, 3, 4, 5, 6, 8, 8, 0]
    assert native_bits(4, 128, False) == 4.25 and native_bits(4, 128, True) == 4.5
    assert native_bits(4, 16, False) == float("inf")


def tensor(scales: np.ndarray, zeros: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    codes = np.random.default_rng(seed).integers(0, 16, (len(scales), 32 * scales.shape[1]), dtype=np.uint8)
    return codes, pack(codes, 4)


def test_exact_where_scales_have_16_bits_and_zeros_are_whole() -> None:
    rng = np.random.default_rng(0)
    for kind in (np.float16, ml_dtypes.bfloat16):
        scales = rng.uniform(0.001, 0.1, (8, 4)).astype(kind).astype(np.float32)
        zeros = rng.integers(0, 16, (8, 4)).astype(np.float32)
        codes, words = tensor(scales, zeros)
        held = affine(words, 4, 32, scales, zeros)
        assert held is not None and held.exactness == "exact" and held.error == 0
        right = np.repeat(scales, 32, 1).astype(np.float64) * (codes - np.repeat(zeros, 32, 1).astype(np.float64))
        ours = codes * np.repeat(held.scales.astype(np.float32), 32, 1)
        ours = ours + np.repeat(held.biases.astype(np.float32), 32, 1)
        np.testing.assert_array_equal(ours.astype(np.float64), right)


@pytest.mark.parametrize("whole_zeros", [True, False])
def test_rounded_with_the_largest_error_in_steps(whole_zeros: bool) -> None:
    rng = np.random.default_rng(1)
    scales = rng.uniform(0.001, 0.1, (8, 4)).astype(np.float32)
    zeros = rng.uniform(0, 15, (8, 4)).astype(np.float32)
    zeros = np.rint(zeros) if whole_zeros else zeros
    codes, words = tensor(scales, zeros)
    held = affine(words, 4, 32, scales, zeros)
    assert held is not None and held.exactness == "rounded" and 0 < held.error < 3e-6
    spread = [np.repeat(a, 32, 1) for a in (held.scales, held.biases, scales, zeros)]
    right = spread[2].astype(np.float64) * (codes - spread[3].astype(np.float64))
    worst = (np.abs(codes * spread[0] + spread[1] - right) / spread[2]).max()
    assert worst <= 2 * held.error, "codes between the three that were tried are no worse by more than a rounding"


def test_infinite_biases_are_no_affine() -> None:
    scales = np.full((8, 1), 3e38, np.float32)
    assert affine(tensor(scales, scales)[1], 4, 32, scales, np.full((8, 1), 8, np.float32)) is None


def test_narrowest_dtype_that_changes_nothing() -> None:
    tiny, odd = np.float32(2.0**-40), np.float32(1 + 2.0**-20)
    assert narrowest(np.array([0.5], np.float32))[0].dtype == np.float16
    assert narrowest(np.array([tiny]))[0].dtype == ml_dtypes.bfloat16
    assert narrowest(np.array([tiny]), np.array([odd]))[0].dtype == np.float32


@pytest.mark.parametrize("name", ["gptq_4bit_g64", "gptq_p_5bit_g32_asym", "awq_4bit_g64_asym"])
def test_bfloat16_scales(name: str) -> None:
    form = find(name)
    assert form is not None
    t = form.sample((32, 128), np.random.default_rng(0))
    t = PackedTensor(form, t.shape, {**t.parts, "scales": t.parts["scales"].astype(ml_dtypes.bfloat16)})
    np.testing.assert_array_equal(decoded_by_mlx(t), t.dequantize())


@pytest.mark.parametrize(
    "name", ["gptq_4bit_g64", "gptq_p_5bit_g32_asym", "awq_4bit_g64_asym", "awq_gemv_4bit_g64_asym"]
)
def test_stacks_of_matrices(name: str) -> None:
    form = find(name)
    assert form is not None
    each = [form.sample((40, 128), np.random.default_rng(seed)) for seed in range(3)]
    stack = PackedTensor(form, (3, 40, 128), {n: np.stack([t.parts[n] for t in each]) for n in each[0].parts})
    whole = np.stack([t.dequantize() for t in each])
    np.testing.assert_array_equal(stack.dequantize(), whole)
    np.testing.assert_array_equal(stack.matrix(1).dequantize(), whole[1])
    for index in (slice(0, 32), slice(5, 9), np.array([39, 0, 0])):
        np.testing.assert_array_equal(stack.rows(index).dequantize(), whole[:, index])
