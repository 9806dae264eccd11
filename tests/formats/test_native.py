"""A repack called exact decodes in MLX, in float32, to the very values of our own decode."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from localq.formats import FORMATS
from localq.formats.base import Format, GGMLFormat, Native, PackedTensor
from tests.formats.blocks import HALF_AT, crafted_blocks, random_blocks, tensor

HELD = {n: f for n, f in FORMATS.items() if f.to_native.__func__ is not Format.to_native.__func__}
SCALE_BYTES = {"mxfp4_ggml": 1, "nvfp4_ggml": 4}  # 255 is NaN to MLX, a number to ggml
HELD_GGML = {n: f for n, f in HELD.items() if issubclass(f, GGMLFormat)}


def decoded_by_mlx(native: Native) -> np.ndarray:
    """float32 decode with scales widened to float32 first, and the left-over scale multiplied in."""
    floats = [None if a is None else mx.array(a) for a in (native.scales, native.biases)]
    scales, biases = (a.astype(mx.float32) if a is not None and a.dtype != mx.uint8 else a for a in floats)
    out = mx.dequantize(
        mx.array(native.weight),
        scales,
        biases,
        group_size=native.group_size,
        bits=native.bits,
        mode=native.mode,
        dtype=mx.float32,
    )
    w = np.array(out)
    return w if native.multiplier is None else w * native.multiplier[..., None, None]


def finite(fmt: type[GGMLFormat], blocks: np.ndarray) -> np.ndarray:
    """The blocks whose weights are all finite."""
    out = np.empty((len(blocks), fmt.block_size), np.float32)
    with np.errstate(all="ignore"):
        fmt.decode(blocks, out)
    kept = blocks[np.isfinite(out).all(axis=1)]
    return kept[: len(kept) // 2 * 2]


def test_the_formats_mlx_holds_are_the_ones_meant() -> None:
    legacy = {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q1_0", "q2_0", "tq2_0", "mxfp4_ggml", "nvfp4_ggml"}
    core = {n: f for n, f in FORMATS.items() if f.family in ("float", "ggml", "mlx")}  # others: tests/packed
    assert set(HELD) & set(core) == legacy | {n for n, f in core.items() if f.family == "mlx"}


@pytest.mark.parametrize("name", sorted(HELD_GGML))
@pytest.mark.parametrize("source", [lambda f: random_blocks(f, 2000), crafted_blocks], ids=["random", "crafted"])
def test_exact_means_equal_values(name: str, source) -> None:
    fmt = HELD_GGML[name]
    blocks = finite(fmt, source(fmt))
    if at := SCALE_BYTES.get(name):
        blocks = blocks[(blocks[:, :at] != 255).all(axis=1)]
        blocks = blocks[: len(blocks) // 2 * 2]
    t = tensor(fmt, blocks)
    native = fmt.to_native(t)
    assert native is not None and native.exactness == "exact" and native.weight.dtype == np.uint32
    np.testing.assert_array_equal(decoded_by_mlx(native), t.dequantize())


@pytest.mark.parametrize("name", sorted(HELD_GGML))
def test_ordinary_scales_cost_at_most_an_eighth_more_bytes(name: str) -> None:
    fmt = HELD_GGML[name]
    blocks = random_blocks(fmt, 64)
    for at in HALF_AT.get(name, ()):
        blocks[:, at : at + 2].view(np.float16)[:] = 0.03
    if at := SCALE_BYTES.get(name):
        blocks[:, :at] &= 127  # no NaN
    t = tensor(fmt, blocks)
    native = fmt.to_native(t)
    size = sum(a.nbytes for a in (native.weight, native.scales, native.biases) if a is not None)
    assert size <= t.nbytes * 1.125
    if native.mode == "affine":
        assert native.scales.dtype == native.biases.dtype == np.float16


def test_a_bias_beyond_float16_is_kept_in_float32() -> None:
    fmt = FORMATS["q8_0"]
    blocks = random_blocks(fmt, 2)
    blocks[:, :2].view(np.float16)[:] = 600.0  # 128 * 600 > 65504
    t = tensor(fmt, blocks)
    native = fmt.to_native(t)
    assert native.scales.dtype == np.float32
    np.testing.assert_array_equal(decoded_by_mlx(native), t.dequantize())


@pytest.mark.parametrize("name", sorted(HELD_GGML))
def test_an_infinite_scale_has_no_native_twin(name: str) -> None:
    fmt = HELD_GGML[name]
    blocks = random_blocks(fmt, 2)
    if name in SCALE_BYTES:
        blocks[0, SCALE_BYTES[name] - 1] = 255
    else:
        blocks[0, HALF_AT[name][0] :][:2].view(np.float16)[:] = np.inf
    assert fmt.to_native(tensor(fmt, blocks)) is None


def test_nvfp4s_second_scale_is_the_multiplier() -> None:
    fmt = FORMATS["nvfp4_ggml"]
    blocks = random_blocks(fmt, 24)
    blocks[:, :4] &= 127  # no NaN
    second = np.array([0.5, 3.0, -0.1], np.float32)
    parts = {"weight": blocks.reshape(3, 4, -1), "scale": second}
    t = PackedTensor(fmt, (3, 4, 128), parts)
    native = fmt.to_native(t)
    np.testing.assert_array_equal(native.multiplier, second)
    np.testing.assert_array_equal(decoded_by_mlx(native), t.dequantize())
    one = tensor(fmt, blocks).dequantize().reshape(3, 4, 128)
    np.testing.assert_array_equal(t.dequantize(), one * second[:, None, None])


@pytest.mark.parametrize("name", sorted(n for n, f in HELD.items() if f.family == "mlx"))
def test_mlx_formats_are_native_as_stored(name: str) -> None:
    fmt = HELD[name]
    shape = (3, fmt.block_size * 2)
    rng = np.random.default_rng(0)
    parts = {}
    for key, part in fmt.layout(shape).items():
        kind = part.dtype.split("|")[0]
        parts[key] = rng.integers(0, 99, part.shape).astype(kind)
    t = PackedTensor(fmt, shape, parts)
    native = fmt.to_native(t)
    assert native.weight is parts["weight"] and native.scales is parts["scales"]
    assert native.biases is parts.get("biases") and native.multiplier is None
    np.testing.assert_array_equal(decoded_by_mlx(native), t.dequantize())
