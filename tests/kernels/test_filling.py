"""Weights repacked block by block, alone and as stacks, are those that `to_native` gives for the whole matrix."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from localq.formats import FORMATS
from localq.formats.base import Format, PackedTensor
from localq.kernels import filling, native
from localq.kernels.checks import random_tensor

SHAPE = (512, 512)
EVERY = sorted({form.name: form for family in FORMATS.values() for form in family.examples()}.items())


def sample(form: type[Format]) -> PackedTensor:
    rng = np.random.default_rng(0)
    return random_tensor(form, SHAPE, rng) if form.family == "ggml" else form.sample(SHAPE, rng)


def holds(t: PackedTensor) -> bool:
    return t.format.family != "float" and t.format.has_native(t) and t.format.to_native(t) is not None


@pytest.mark.parametrize("name", [name for name, form in EVERY if form.family != "float"])
def test_blocks_make_the_whole(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    t = sample(dict(EVERY)[name])
    monkeypatch.setattr(filling, "BLOCK", t.size)
    whole = native.prepare(t, mx.bfloat16)
    if not holds(t):
        assert whole is None
        return
    monkeypatch.setattr(filling, "BLOCK", 128 * SHAPE[1])
    cut = native.prepare(t, mx.bfloat16)
    assert whole is not None and cut is not None
    assert (cut.way, cut.exactness, cut.error) == (whole.way, whole.exactness, whole.error)
    assert len(cut.arrays) == len(whole.arrays)
    for one, other in zip(cut.arrays, whole.arrays, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        assert mx.array_equal(one, other).item()


@pytest.mark.parametrize("name", ["gptq_4bit_g128", "ct_int4_g128", "nvfp4_packed", "affine_4bit_g64", "hqq_4bit_g64"])
def test_a_stack_is_its_matrices(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    form = dict(EVERY)[name]
    each = [form.sample(SHAPE, np.random.default_rng(i)) for i in range(3)]
    monkeypatch.setattr(filling, "BLOCK", 128 * SHAPE[1])
    stack = native.prepare_stack(each, mx.float32)
    assert stack is not None and stack.weight.shape[0] == 3
    x = mx.array(np.random.default_rng(9).standard_normal((3, 1, SHAPE[1])).astype(np.float32))
    got = np.asarray(native.gather(x, stack, mx.array([2, 0, 1]), False))
    for row, number in enumerate((2, 0, 1)):
        alone = native.prepare(each[number], mx.float32)
        assert alone is not None
        np.testing.assert_allclose(got[row], np.asarray(native.matmul(x[row], alone)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stored", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_floats(monkeypatch: pytest.MonkeyPatch, stored: str, dtype: mx.Dtype) -> None:
    t = sample(FORMATS[stored])
    monkeypatch.setattr(filling, "BLOCK", 1 << 12)
    for placed, want in ((native.prepare(t, dtype), t), (native.prepare_stack([t, t], dtype), t)):
        assert placed is not None and placed.weight.dtype == dtype
        values = mx.array(want.dequantize()).astype(dtype)
        assert mx.array_equal(mx.broadcast_to(values, placed.weight.shape), placed.weight).item()


def test_scales_of_blocks_that_need_different_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last rows' scales fit into float16, the first rows' into bfloat16 only: all become what holds them all."""
    t = sample(dict(EVERY)["ct_int4_g128"])
    scales = np.full(t.parts["weight_scale"].shape, 1.5, np.float32)
    scales[:128] = 2.0**30
    scales[-1] = 1 + 2**-9
    t = PackedTensor(t.format, t.shape, {**t.parts, "weight_scale": scales})
    monkeypatch.setattr(filling, "BLOCK", t.size)
    whole = native.prepare(t, mx.float32)
    monkeypatch.setattr(filling, "BLOCK", 128 * SHAPE[1])
    cut = native.prepare(t, mx.float32)
    assert whole is not None and cut is not None and whole.scales is not None and cut.scales is not None
    assert cut.scales.dtype == whole.scales.dtype == mx.float32
    assert mx.array_equal(cut.scales, whole.scales).item()
