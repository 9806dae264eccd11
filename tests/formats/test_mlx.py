"""Every mode of MLX decodes as `mx.dequantize` does in float32, and is told from the config and the stored shapes."""

from __future__ import annotations

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from localq.errors import CheckpointError, UnsupportedError
from localq.formats import FORMATS
from localq.formats.base import PackedTensor, Part
from localq.formats.bits import pack, unpack

MLX = {name: fmt for name, fmt in FORMATS.items() if fmt.family == "mlx"}
AFFINE = sorted(name for name in MLX if name.startswith("affine"))
SHAPE = (6, 512)


def by_mlx(t: PackedTensor) -> np.ndarray:
    mode, bits, group = t.format.settings()
    arrays = [mx.array(a.astype(np.float32)) if a.dtype.itemsize == 2 else mx.array(a) for a in t.parts.values()]
    out = mx.dequantize(*arrays, group_size=group, bits=bits, mode=mode, dtype=mx.float32)
    return np.array(out)


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    finite = ~np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), ~finite)
    np.testing.assert_array_equal(ours.view(np.uint32)[finite], theirs.view(np.uint32)[finite])


def random_tensor(name: str, scale_dtype: str = "float32", shape: tuple[int, ...] = SHAPE) -> PackedTensor:
    """Random codes; random scale bytes of every kind, or scales and biases of every magnitude and sign."""
    fmt, rng = MLX[name], np.random.default_rng(0)
    parts = {}
    for key, part in fmt.layout(shape).items():
        if part.dtype in ("uint32", "uint8"):
            parts[key] = rng.integers(0, 1 << 8 * np.dtype(part.dtype).itemsize, part.shape, part.dtype)
        else:
            wild = rng.standard_normal(part.shape) * np.exp2(rng.integers(-14, 14, part.shape))
            parts[key] = wild.astype(getattr(ml_dtypes, scale_dtype, scale_dtype))
    return PackedTensor(fmt, shape, parts)


def test_the_21_and_the_3() -> None:
    affine = {f"affine_{b}bit_g{g}" for b in (1, 2, 3, 4, 5, 6, 8) for g in (32, 64, 128)}
    assert set(MLX) == affine | {"mxfp4", "mxfp8", "nvfp4"}


@pytest.mark.parametrize("name", sorted(MLX))
def test_what_mlx_quantised_decodes_as_mlx_decodes_it(name: str) -> None:
    fmt = MLX[name]
    mode, bits, group = fmt.settings()
    w = mx.random.normal(SHAPE, key=mx.random.key(1))
    arrays = [np.array(a) for a in mx.quantize(w, group, bits, mode=mode)]
    t = PackedTensor(fmt, SHAPE, dict(zip(fmt.layout(SHAPE), arrays, strict=True)))
    same(t.dequantize(), by_mlx(t))


@pytest.mark.parametrize("name", sorted(MLX))
def test_random_codes_decode_as_in_mlx(name: str) -> None:
    t = random_tensor(name)
    same(t.dequantize(), by_mlx(t))


@pytest.mark.parametrize("scale_dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", AFFINE)
def test_16_bit_scales_decode_as_in_mlx(name: str, scale_dtype: str) -> None:
    t = random_tensor(name, scale_dtype)
    assert t.parts["scales"].dtype.name == scale_dtype
    assert t.bits_per_weight == t.format.bits_per_weight
    same(t.dequantize(), by_mlx(t))


@pytest.mark.parametrize("name", sorted({"mxfp4", "mxfp8", "nvfp4"}))
def test_every_scale_byte_under_every_code(name: str) -> None:
    fmt = MLX[name]
    bits, group = int(fmt.bits), fmt.group_size
    codes = np.tile(np.arange(1 << bits, dtype=np.uint8), (256, max(1, group >> bits) * 2))
    scales = np.repeat(np.arange(256, dtype=np.uint8)[:, None], codes.shape[1] // group, axis=1)
    t = PackedTensor(fmt, codes.shape, {"weight": pack(codes, bits), "scales": scales})
    same(t.dequantize(), by_mlx(t))


@pytest.mark.parametrize("name", sorted(MLX))
def test_rows_and_matrices_are_cut_without_decoding(name: str) -> None:
    t = random_tensor(name, shape=(3, 4, 256))
    whole = t.dequantize()
    same(t.rows(slice(1, 3)).dequantize(), whole[:, 1:3])
    same(t.rows(np.array([3, 0])).dequantize(), whole[:, [3, 0]])
    same(t.matrix(2).rows(slice(1, None)).dequantize(), whole[2, 1:])


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 8])
def test_pack_is_a_little_endian_bitstream(bits: int) -> None:
    codes = np.random.default_rng(0).integers(0, 1 << bits, (5, 96), dtype=np.uint8)
    stream = np.unpackbits(codes[..., None], axis=-1, count=bits, bitorder="little").reshape(5, -1)
    np.testing.assert_array_equal(pack(codes, bits), np.packbits(stream, axis=-1, bitorder="little").view(np.uint32))
    np.testing.assert_array_equal(unpack(pack(codes, bits), bits), codes)


def stored(name: str, shape: tuple[int, ...] = SHAPE) -> dict[str, Part]:
    return {key: Part(part.dtype.split("|")[0], part.shape) for key, part in MLX[name].layout(shape).items()}


def matches(quantization, parts) -> dict[str, tuple[int, ...]]:
    found = {name: fmt.match(quantization, parts) for name, fmt in FORMATS.items()}
    return {name: match[1] for name, match in found.items() if match is not None and match[0].name == name}


@pytest.mark.parametrize("name", sorted(MLX))
def test_settings_decide(name: str) -> None:
    mode, bits, group = MLX[name].settings()
    settings = {"group_size": group, "bits": bits, "mode": mode}
    assert matches(settings, stored(name)) == {name: SHAPE}
    assert matches(settings, stored(name, (3, 4, 512))) == {name: (3, 4, 512)}
    if mode == "affine":  # configs of before 2025 name no mode
        assert matches({"group_size": group, "bits": bits}, stored(name)) == {name: SHAPE}
    else:
        assert matches({"mode": mode}, stored(name)) == {name: SHAPE}


def test_without_settings_only_unambiguous_shapes_are_read() -> None:
    assert matches(None, stored("affine_5bit_g64")) == {"affine_5bit_g64": SHAPE}
    for name in ("mxfp4", "mxfp8", "nvfp4"):
        assert matches(None, stored(name)) == {name: SHAPE}
    with pytest.raises(CheckpointError, match="4 bits in groups of 64 or 8 bits in groups of 32"):
        matches(None, stored("affine_4bit_g64"))
    parts = {**stored("affine_4bit_g64"), "weight": Part("uint32", (6, 7))}
    with pytest.raises(CheckpointError, match="7 words and 8 scales"):
        matches(None, parts)


@pytest.mark.parametrize("name", ["affine_4bit_g64", "nvfp4"])
def test_shapes_against_settings_give_both_numbers(name: str) -> None:
    mode, bits, group = MLX[name].settings()
    parts = {**stored(name), "weight": stored(name, (6, 1024))["weight"]}
    with pytest.raises(CheckpointError, match="1024 weights a row and the scales serve 512"):
        matches({"group_size": group, "bits": bits, "mode": mode}, parts)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"mode": "int4"}, "'int4'"),
        ({"bits": 7, "group_size": 64}, "7 bits in groups of 64"),
        ({"bits": 4, "group_size": 256}, "4 bits in groups of 256"),
        ({"mode": "mxfp4", "bits": 8, "group_size": 32}, "8 bits in groups of 32"),
        ({"mode": "nvfp4", "bits": 4, "group_size": 32}, "4 bits in groups of 32"),
        ({"bits": "4", "group_size": 64}, "'4' bits in groups of 64"),
        ({"bits": True, "group_size": 64}, "True bits"),
        ({"bits": 4, "group_size": [64]}, r"groups of \[64\]"),
        ({"mode": ["affine"], "bits": 4}, "affine"),
    ],
)
def test_unknown_settings_are_unsupported(settings, said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        matches(settings, stored("affine_4bit_g64"))


def test_missing_and_surplus_parts() -> None:
    settings = {"bits": 4, "group_size": 64}
    parts = stored("affine_4bit_g64")
    with pytest.raises(CheckpointError, match="stored as scales, weight; expected biases, scales, weight"):
        matches(settings, {k: v for k, v in parts.items() if k != "biases"})
    with pytest.raises(CheckpointError, match="expected scales, weight"):
        matches({"mode": "mxfp4"}, {**stored("mxfp4"), "biases": Part("float16", (6, 16))})
    with pytest.raises(UnsupportedError, match="global_scale"):
        matches({"mode": "nvfp4"}, {**stored("nvfp4"), "global_scale": Part("float32", ())})


def test_other_methods_and_floats_are_left_alone() -> None:
    awq = {"quant_method": "awq", "bits": 4, "group_size": 128}
    assert matches(awq, {"qweight": Part("int32", (512, 64)), "scales": Part("float16", (4, 512))}) == {}
    assert matches(awq, stored("affine_4bit_g64")) == {}
    for dtype, name in (("bfloat16", "bf16"), ("float16", "f16"), ("float32", "f32")):
        for settings in (None, {"bits": 4, "group_size": 64}):
            assert matches(settings, {"weight": Part(dtype, (7, 5))}) == {name: (7, 5)}
    assert matches(None, {"weight": Part("int8", (7, 5))}) == {}
    assert matches({"hadamard": 1}, stored("affine_5bit_g64")) == {}
    assert matches(None, {"weight": Part("bfloat16", (7, 5)), "weight_scale": Part("float32", ())}) == {}


def test_scalars_and_empty_shapes_are_checkpoint_errors() -> None:
    for shapes in (((), ()), ((0,), (0,)), ((6, 0), (6, 0))):
        parts = {"weight": Part("uint32", shapes[0]), "scales": Part("uint8", shapes[1])}
        with pytest.raises(CheckpointError):
            matches({"mode": "mxfp4"}, parts)
