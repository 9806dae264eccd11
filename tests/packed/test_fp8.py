"""quant_method "fp8": DeepSeek's and transformers' blocks, scales in every dtype and shape, E5M2, stacked experts.

The oracles are transformers' own quantiser and decoder (tools/fixtures/transformers_fp8.py), compressed-tensors'
`dequantize` for edge blocks, which transformers reads otherwise, and weight = code * scale written out block by block,
as DeepSeek-V3's `weight_dequant` has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.formats import find
from localq.formats.base import PackedTensor
from tests.packed import test_compressed_tensors as peer
from tests.packed.fixtures import NAME, assert_same, read, variants, write
from tests.packed.native import assert_rows, decoded_by_mlx

PROVES = {"mxfp4_int8"}
BLOCKS = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
WHOLE = {"quant_method": "fp8", "weight_block_size": None}


def codes(shape: tuple[int, ...], dtype: Any = ml_dtypes.float8_e4m3fn) -> np.ndarray:
    return np.random.default_rng(shape[-2]).normal(0, 30, shape).astype(np.float32).astype(dtype)


def grid(shape: tuple[int, int], block: int = 128) -> np.ndarray:
    size = -(-shape[0] // block), -(-shape[1] // block)
    return np.random.default_rng(shape[0]).uniform(1e-4, 2e-4, size).astype(np.float32)


def by_blocks(w: np.ndarray, scales: np.ndarray, block: int = 128) -> np.ndarray:
    out = w.astype(np.float32)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            out[i * block : (i + 1) * block, j * block : (j + 1) * block] *= np.float32(scales[i, j])
    return out


VARIANTS = variants("fp8.safetensors")
FORMS = {
    **{"tensor": "fp8_e4m3_tensor_pair_inv", "mxfp8": "fp8_e4m3_group32_powers_inv", "fp4": "mxfp4_int8_inv"},
    **{"blocks": "fp8_e4m3_block128_inv", "blocks_ue8m0": "fp8_e4m3_block128_powers_inv"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_transformers(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    parts = dict(variant.parts)
    if "weight" not in parts:  # drawn by the generator's rule
        places = np.arange(np.prod(variant.shape), dtype=np.int64)
        drawn = ((places * 40503 >> 4) % 127 + 128 * (places % 2)).astype(np.uint8)
        parts["weight"] = drawn.reshape(variant.shape).view(ml_dtypes.float8_e4m3fn)
    t = load(tmp_path, parts, variant.config)
    assert t.format.name == FORMS[name] and find(FORMS[name]) is t.format
    assert_same(t, variant)
    assert_rows(t)
    found = decoded_by_mlx(t)
    assert (found is None) == (name == "blocks")
    if found is not None:
        np.testing.assert_array_equal(found, t.dequantize())


@pytest.mark.parametrize("rows", [320, 576, 192])
def test_edge_blocks_are_the_peers(tmp_path: Path, rows: int) -> None:
    """compressed-tensors' own blocks under DeepSeek's name and config."""
    parts = peer.parts_of(f"fp8_block_{rows}")
    parts["weight_scale_inv"] = parts.pop("weight_scale")
    t = read(tmp_path, parts, BLOCKS)
    assert t.format.name == "fp8_e4m3_block128_inv" and find(t.format.name) is t.format
    assert_same(t, peer.VARIANTS[f"fp8_block_{rows}"])
    assert_rows(t)


@pytest.mark.parametrize("stored", ["float8_e8m0fnu", "uint8", "float32", "bfloat16"])
def test_powers_of_two_in_every_dtype(tmp_path: Path, stored: str) -> None:
    """ue8m0: MLX's mxfp8 holds such blocks as they are."""
    w, exponents = codes((320, 192)), np.random.default_rng(0).integers(110, 125, (3, 2)).astype(np.uint8)
    powers = np.exp2(exponents.astype(np.float32) - 127)
    if stored == "uint8":
        scales = exponents
    elif stored == "float8_e8m0fnu":
        scales = exponents.view(ml_dtypes.float8_e8m0fnu)
    else:
        scales = powers.astype(getattr(ml_dtypes, stored, np.float32))
    t = load(tmp_path, {"weight": w, "weight_scale_inv": scales}, {**BLOCKS, "scale_fmt": "ue8m0"})
    np.testing.assert_array_equal(t.dequantize(), by_blocks(w, powers))
    held, found = t.format.to_native(t), decoded_by_mlx(t)
    assert held is not None and held.mode == "mxfp8" and held.multiplier is None and held.exactness == "exact"
    np.testing.assert_array_equal(found, t.dequantize())
    assert_rows(t)


def load(folder: Path, parts: dict[str, np.ndarray], config: dict[str, Any]) -> PackedTensor:
    """As `read`, with the dtypes numpy's safetensors does not write."""
    from tests.packed.rawfile import save

    write(folder, {"weight": np.zeros(1, np.float32)}, config)
    save(folder / "model.safetensors", {f"{NAME}.{n}": a for n, a in parts.items()})
    with open_checkpoint(folder) as checkpoint:
        if checkpoint.unsupported:
            raise UnsupportedError(checkpoint.unsupported)
        return checkpoint[f"{NAME}.weight"]


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (96, 1), (96,)])
def test_one_scale_or_one_per_output(tmp_path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
    w = codes((96, 64), dtype)
    scales = np.random.default_rng(1).uniform(1e-3, 2e-3, shape).astype(np.float32)
    t = load(tmp_path, {"weight": w, "weight_scale": scales}, WHOLE)
    want = w.astype(np.float32) * scales.reshape(-1, 1)
    np.testing.assert_array_equal(t.dequantize(), want)
    assert_rows(t)
    found = decoded_by_mlx(t)
    assert (found is None) == (dtype == ml_dtypes.float8_e5m2)
    if found is not None:
        np.testing.assert_array_equal(found, want)


def test_one_row_a_block(tmp_path: Path) -> None:
    w, scales = codes((96, 256)), np.random.default_rng(2).uniform(1, 2, (96, 2)).astype(np.float32)
    t = load(tmp_path, {"weight": w, "weight_scale_inv": scales}, {**BLOCKS, "weight_block_size": [1, 128]})
    np.testing.assert_array_equal(t.dequantize(), w.astype(np.float32) * np.repeat(scales, 128, axis=1))
    assert_rows(t)


@pytest.mark.parametrize("kind", ["block", "halves", "scalar"])
def test_stacked_experts_of_transformers(tmp_path: Path, kind: str) -> None:
    """`experts.gate_up_proj [E, 2I, H]` and `..._scale_inv`; without blocks gate and up have a scale each."""
    from tests.packed.rawfile import save

    w, rng, name = codes((3, 192, 256)), np.random.default_rng(3), "model.layers.0.mlp.experts.gate_up_proj"
    shape = {"block": (3, 2, 2), "halves": (3, 2, 1), "scalar": (3, 1, 1)}[kind]
    scales = rng.uniform(1e-3, 2e-3, shape).astype(np.float32)
    write(tmp_path, {"weight": np.zeros(1, np.float32)}, BLOCKS if kind == "block" else WHOLE)
    save(tmp_path / "model.safetensors", {name: w, f"{name}_scale_inv": scales})
    with open_checkpoint(tmp_path) as checkpoint:
        t = checkpoint[name]
    assert t.shape == (3, 192, 256)
    step = {"block": 128, "halves": 96, "scalar": 192}[kind]
    wide = np.repeat(scales, step, axis=1)[:, :192]
    wide = np.repeat(wide, 128, axis=2) if kind == "block" else wide
    want = w.astype(np.float32) * wide
    np.testing.assert_array_equal(t.dequantize(), want)
    for index in range(3):
        matrix = t.matrix(index)
        np.testing.assert_array_equal(matrix.dequantize(), want[index])
        np.testing.assert_array_equal(matrix.rows(slice(1, 192, 2)).dequantize(), want[index, 1::2])
        found = decoded_by_mlx(matrix)
        if kind == "block":
            assert found is None
        else:
            np.testing.assert_array_equal(found, want[index])


def test_a_stack_with_one_scale_each_as_a_vector() -> None:
    form = find("fp8_e4m3_tensor_scalar")
    assert form is not None
    t = PackedTensor(form, (2, 4, 32), {"weight": codes((2, 4, 32)), "weight_scale": np.array([1, 2], np.float32)})
    assert isinstance(t.matrix(1).parts["weight_scale"], np.ndarray)
    np.testing.assert_array_equal(t.matrix(1).dequantize(), t.dequantize()[1])
    held = form.to_native(t.matrix(1))
    assert held is not None and held.multiplier is not None and held.multiplier.shape == (4,)


def test_mxfp8_is_not_taken_for_a_grid(tmp_path: Path) -> None:
    """At 32 inputs a power of two per 32 has the shape of one per output."""
    for dtype in (np.uint8, ml_dtypes.float8_e8m0fnu):
        for width in (32, 256):
            scales = np.full((64, width // 32), 120, np.uint8).view(dtype)
            t = load(tmp_path, {"weight": codes((64, width)), "weight_scale": scales}, {"quant_method": "modelopt",
                     "quant_algo": "MXFP8"})  # fmt: skip
            assert t.format.name == "mxfp8_bytes" and t.shape == (64, width)


_GRID = grid((320, 192))
DAMAGE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "per output": ({"weight_scale_inv": np.ones((320, 1), np.float32)}, {}, r"\(320, 192\).*\(320, 1\).*\(3, 2\)"),
    "per group": ({"weight_scale_inv": np.ones((320, 2), np.float32)}, {}, r"\(320, 192\).*\(320, 2\).*\(3, 2\)"),
    "one": ({"weight_scale_inv": np.ones((1, 1), np.float32)}, {}, r"\(320, 192\).*\(1, 1\).*\(3, 2\)"),
    "whole": ({}, {"weight_block_size": None}, r"\(3, 2\).*weight_block_size None expected \(\)"),
    "other blocks": ({}, {"weight_block_size": [64, 64]}, r"\(3, 2\).*\(5, 3\)"),
    "no pair": ({}, {"weight_block_size": 128}, "weight_block_size is 128; two positive numbers"),
    "both": ({"weight_scale": np.ones((), np.float32)}, {}, "weight_scale_inv and weight_scale beside it"),
    "none": ({"weight_scale_inv": None}, {}, "no scales beside it"),
    "zero": ({"weight_scale_inv": _GRID * np.array([[1, 1], [1, 0], [1, 1]], np.float32)}, {}, r"\(1, 1\): 0.0"),
    "nan": ({"weight_scale_inv": _GRID * np.array([[1, 1], [1, 1], [np.nan, 1]], np.float32)}, {}, r"\(2, 0\): nan"),
    "bytes": ({"weight_scale_inv": np.full((3, 2), 120, np.uint8)}, {"scale_fmt": "float"}, "'float', not 'ue8m0'"),
    "nan byte": ({"weight_scale_inv": np.full((3, 2), 255, np.uint8)}, {}, "nan"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_contradicts_itself_is_refused(tmp_path: Path, name: str) -> None:
    change, config, words = DAMAGE[name]
    parts = {"weight": codes((320, 192)), "weight_scale_inv": _GRID, **change}
    with pytest.raises(CheckpointError, match=words) as caught:
        load(tmp_path, {n: a for n, a in parts.items() if a is not None}, {**BLOCKS, **config})
    assert NAME in str(caught.value)


@pytest.mark.parametrize("shape", [(), (1,), (96, 1)])
def test_zero_scales_are_damage(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match="0.0; expected finite scales other than zero"):
        load(tmp_path, {"weight": codes((96, 64)), "weight_scale": np.zeros(shape, np.float32)}, WHOLE)


def test_mxfp8_of_transformers(tmp_path: Path) -> None:
    """Bytes per row and 32 inputs under DeepSeek's name: MLX's mxfp8 as it is."""
    w, bytes_ = codes((96, 256)), np.random.default_rng(4).integers(110, 125, (96, 8)).astype(np.uint8)
    config = {"quant_method": "mxfp8", "scale_fmt": "ue8m0", "weight_block_size": [1, 32], "ignored_layers": ["x"]}
    t = load(tmp_path, {"weight": w, "weight_scale_inv": bytes_}, config)
    want = w.astype(np.float32) * np.repeat(np.exp2(bytes_.astype(np.float32) - 127), 32, axis=1)
    np.testing.assert_array_equal(t.dequantize(), want)
    np.testing.assert_array_equal(decoded_by_mlx(t), want)
    with pytest.raises(CheckpointError, match="excludes this module"):
        load(tmp_path, {"weight": w, "weight_scale_inv": bytes_}, {**config, "ignored_layers": [NAME]})


FOUR = {**BLOCKS, "scale_fmt": "ue8m0", "expert_dtype": "fp4"}


def fp4(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs int8 [..., in / 2], low nibble first, E8M0 bytes [..., in / 32] and the weights."""
    rng = np.random.default_rng(shape[-2])
    nibbles = rng.integers(0, 16, shape)
    scales = rng.integers(110, 125, (*shape[:-1], shape[-1] // 32))
    pairs = (nibbles[..., 0::2] | nibbles[..., 1::2] << 4).astype(np.uint8).view(np.int8)
    magnitude = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])[nibbles & 7] * np.where(nibbles > 7, -1.0, 1.0)
    values = magnitude * np.repeat(np.exp2(scales - 127.0), 32, axis=-1)
    return pairs, scales.astype(np.uint8), values.astype(np.float32)


@pytest.mark.parametrize("part", ["weight_scale_inv", "scale", "weight_scale"])
@pytest.mark.parametrize("dtype", [np.uint8, ml_dtypes.float8_e8m0fnu])
def test_fp4_experts(tmp_path: Path, part: str, dtype: Any) -> None:
    pairs, scales, want = fp4((96, 128))
    t = load(tmp_path, {"weight": pairs, part: scales.view(dtype)}, FOUR)
    assert find(t.format.name) is t.format and t.shape == (96, 128)
    np.testing.assert_array_equal(t.dequantize(), want)
    np.testing.assert_array_equal(decoded_by_mlx(t), want)
    assert_rows(t)


def test_fp4_experts_stacked(tmp_path: Path) -> None:
    from tests.packed.rawfile import save

    pairs, scales, want = fp4((3, 64, 128))
    name = "model.layers.0.mlp.experts.gate_up_proj"
    write(tmp_path, {"weight": np.zeros(1, np.float32)}, FOUR)
    save(tmp_path / "model.safetensors", {name: pairs, f"{name}_scale_inv": scales.view(ml_dtypes.float8_e8m0fnu)})
    with open_checkpoint(tmp_path) as checkpoint:
        t = checkpoint[name]
    np.testing.assert_array_equal(t.dequantize(), want)
    np.testing.assert_array_equal(t.matrix(2).rows(slice(0, 64, 2)).dequantize(), want[2, ::2])


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({}, "no scales beside it"),
        ({"scale": np.ones((96, 4), np.uint8), "weight_scale": np.ones((96, 4), np.uint8)}, "weight_scale and scale"),
        ({"scale": np.ones((96, 3), np.uint8)}, r"\(96, 64\), 128 weights a row.*\(96, 3\).*\(96, 4\)"),
        ({"scale": np.ones((96, 4), np.float32)}, r"scale float32 \(96, 4\); expected E8M0"),
        ({"scale": np.full((96, 4), 255, np.uint8)}, r"\(0, 0\): inf"),
    ],
)
def test_damaged_fp4_is_refused(tmp_path: Path, parts: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path, {"weight": fp4((96, 128))[0], **parts}, FOUR)


def test_fp4_that_the_config_denies(tmp_path: Path) -> None:
    pairs, scales, _ = fp4((96, 128))
    with pytest.raises(CheckpointError, match=r"int8 \(96, 64\), FP4 pairs; the config's expert_dtype is 'fp8'"):
        load(tmp_path, {"weight": pairs, "weight_scale_inv": scales}, {**FOUR, "expert_dtype": "fp8"})


@pytest.mark.parametrize("shape", [(1, 1), (3, 2)])
def test_deepseek_v4_names_its_scales_scale(tmp_path: Path, shape: tuple[int, int]) -> None:
    w = codes((320, 192)) if shape == (3, 2) else codes((64, 96))
    powers = np.exp2(np.random.default_rng(6).integers(-9, -2, shape).astype(np.float32))
    t = load(tmp_path, {"weight": w, "scale": powers.astype(ml_dtypes.float8_e8m0fnu)}, FOUR)
    assert t.format.name == "fp8_e4m3_block128_powers_scale" and find(t.format.name) is t.format
    np.testing.assert_array_equal(t.dequantize(), by_blocks(w, powers))


def test_left_out_matrices_stay_plain_and_packed_ones_may_not_be(tmp_path: Path) -> None:
    """Quantisers skip what their blocks do not divide, so the arrays decide; a list of exclusions must be true."""
    config = {**BLOCKS, "modules_to_not_convert": ["lm_head"]}
    assert read(tmp_path, {"weight": np.ones((8, 64), np.float32)}, {}).format.name == "f32"
    lying = {**config, "modules_to_not_convert": [NAME]}
    with pytest.raises(CheckpointError, match="excludes this module"):
        load(tmp_path, {"weight": codes((320, 192)), "weight_scale_inv": _GRID}, lying)


def test_auto_rounds_fp8_is_the_same(tmp_path: Path) -> None:
    config = {"quant_method": "auto-round", "packing_format": "auto_round:fp8", "bits": 8, "data_type": "fp8",
              "weight_block_size": [128, 128]}  # fmt: skip
    t = load(tmp_path, {"weight": codes((320, 192)), "weight_scale_inv": _GRID}, config)
    np.testing.assert_array_equal(t.dequantize(), by_blocks(codes((320, 192)), _GRID))
    short = {"quant_method": "auto_round:fp8", "bits": 8, "data_type": "fp", "weight_block_size": [128, 128]}
    assert load(tmp_path, {"weight": codes((320, 192)), "weight_scale_inv": _GRID}, short).format is t.format


def test_auto_rounds_static_fp8_has_one_scale_per_output(tmp_path: Path) -> None:
    config = {"quant_method": "auto-round", "packing_format": "auto_round:fp8_static", "bits": 8, "data_type": "fp"}
    w, scales = codes((96, 64)), np.random.default_rng(7).uniform(1, 2, 96).astype(ml_dtypes.bfloat16)
    t = load(tmp_path, {"weight": w, "weight_scale": scales, "input_scale": scales[:1]}, {**config, "group_size": -1})
    assert t.format.name == "fp8_e4m3_channel_flat"
    np.testing.assert_array_equal(t.dequantize(), w.astype(np.float32) * scales.astype(np.float32)[:, None])


def test_fbgemm(tmp_path: Path) -> None:
    w, scales = codes((96, 64)), np.random.default_rng(5).uniform(1, 2, (96, 1)).astype(np.float32)
    config = {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]}
    t = load(tmp_path, {"weight": w, "weight_scale": scales}, config)
    assert t.format.name == "fp8_e4m3_channel"
    np.testing.assert_array_equal(t.dequantize(), w.astype(np.float32) * scales)
