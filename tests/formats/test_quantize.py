"""What localq packs has the bytes that gguf-py and MLX make of the same floats; what it cannot pack it refuses."""

from __future__ import annotations

import gguf
import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from localq.errors import LocalqError
from localq.formats import FORMATS
from localq.formats.base import Format, GGMLFormat

WRITES = {n: f for n, f in FORMATS.items() if f.quantize.__func__ is not Format.quantize.__func__}
MLX = sorted(n for n, f in WRITES.items() if f.family == "mlx")
GGML = sorted(n for n, f in WRITES.items() if issubclass(f, GGMLFormat))


def weights() -> np.ndarray:
    """Normal weights at many magnitudes, with rows of zeros, of one value, of ties and of a single outlier."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((160, 512)).astype(np.float32) * np.exp2(rng.integers(-12, 6, (160, 1))).astype(np.float32)
    w[0], w[1], w[2] = 0, 0.7, -0.7
    w[3] = np.tile(np.array([0.25, -0.75, 2.5, -5, 1.25, 3.5, 0.5, 6], np.float32), 64)
    w[4], w[4, 5], w[5, :] = 0, -3, np.round(w[5] * 4) / 4
    w[6], w[7] = np.abs(w[6]), -np.abs(w[7])
    return w


def test_what_is_written() -> None:
    floats = {"f32", "f16", "bf16"}
    assert set(GGML) == {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "mxfp4_ggml"}
    core = {n for n, f in FORMATS.items() if f.family in ("float", "ggml", "mlx")}  # others: tests/packed
    assert set(WRITES) & core - set(GGML) - set(MLX) == floats
    assert set(MLX) == {n for n, f in FORMATS.items() if f.family == "mlx"}


@pytest.mark.parametrize("name", GGML)
def test_bytes_are_gguf_pys(name: str) -> None:
    kind = gguf.GGMLQuantizationType[name.removesuffix("_ggml").upper()]
    with np.errstate(all="ignore"):
        theirs = gguf.quantize(weights(), kind)
    np.testing.assert_array_equal(FORMATS[name].quantize(weights()).parts["weight"], theirs)


@pytest.mark.parametrize("name", MLX)
def test_bytes_are_mlxs(name: str) -> None:
    mode, bits, group = FORMATS[name].settings()
    theirs = [np.array(a) for a in mx.quantize(mx.array(weights()), group, bits, mode=mode)]
    ours = FORMATS[name].quantize(weights())
    for part, stored in zip(("weight", "scales", "biases"), theirs, strict=False):
        np.testing.assert_array_equal(ours.parts[part], stored, err_msg=part)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["affine_4bit_g64", "affine_3bit_g32"])
def test_affine_scales_take_the_dtype_of_the_weights(name: str, dtype: str) -> None:
    _, bits, group = FORMATS[name].settings()
    theirs = mx.quantize(mx.array(weights()).astype(getattr(mx, dtype)), group, bits)
    ours = FORMATS[name].quantize(weights().astype(getattr(ml_dtypes, dtype, dtype)))
    assert ours.parts["scales"].dtype == dtype
    np.testing.assert_array_equal(ours.parts["weight"], np.array(theirs[0]))
    for part, stored in zip(("scales", "biases"), theirs[1:], strict=True):
        np.testing.assert_array_equal(ours.parts[part].astype(np.float32), np.array(stored.astype(mx.float32)))


@pytest.mark.parametrize("name", ["f32", "f16", "bf16"])
def test_floats_round_to_nearest_even(name: str) -> None:
    kind = gguf.GGMLQuantizationType[name.upper()]
    ours = FORMATS[name].quantize(weights())
    np.testing.assert_array_equal(ours.parts["weight"].view(np.uint8), gguf.quantize(weights(), kind).view(np.uint8))
    np.testing.assert_array_equal(
        ours.dequantize(), gguf.dequantize(ours.parts["weight"].view(np.uint8), kind).reshape(160, 512)
    )


@pytest.mark.parametrize("name", sorted(set(FORMATS) - set(WRITES)))
def test_what_is_not_written_says_so(name: str) -> None:
    with pytest.raises(LocalqError, match=f"localq reads {name} but does not write it"):
        FORMATS[name].quantize(np.zeros((2, 512), np.float32))


@pytest.mark.parametrize("name", GGML + MLX)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_infinite_weights_are_refused(name: str, bad: float) -> None:
    w = np.zeros((2, 512), np.float32)
    w[1, 3] = bad
    with pytest.raises(LocalqError, match="1 of 1024 weights are infinite or NaN"):
        FORMATS[name].quantize(w)


@pytest.mark.parametrize("name", GGML + MLX)
def test_rows_that_are_no_whole_blocks_are_refused(name: str) -> None:
    with pytest.raises(LocalqError, match=r"\(20,\)"):
        FORMATS[name].quantize(np.zeros((2, 20), np.float32))
