"""AMD Quark's layouts against amd-quark's own exporter and importer (tools/fixtures/quark_layers.py)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.checkpoints.methods.quark import rules
from localq.errors import CheckpointError, UnsupportedError
from localq.formats.base import PackedTensor
from localq.formats.mxfp6 import MXFP6
from localq.formats.quark_int import QuarkInt
from tests.packed.fixtures import NAME, assert_same, loaded, variants
from tests.packed.native import assert_rows, decoded_by_mlx
from tests.packed.rawfile import save

PROVES = {"quark_int", "mxfp6"}
VARIANTS = variants("quark.safetensors")
FORMS = {
    **{"fp8_tensor": "fp8_e4m3_tensor_scalar", "fp8_channel": "fp8_e4m3_channel_flat", "mxfp4": "mxfp4_modelopt"},
    **{"fp8_e5m2": "fp8_e5m2_tensor_scalar", "nvfp4": "nvfp4_modelopt"},
    **{"mxfp6_e3m2": "mxfp6_e3m2", "mxfp6_e2m3": "mxfp6_e2m3"},
    **{"int8_channel": "quark_int8_channel", "int8_tensor": "quark_int8_tensor", "int8_groups": "quark_int8_g32"},
    **{"uint8_channel": "quark_uint8_channel", "uint4_groups": "quark_uint4_g32", "int4_groups": "quark_int4_g32"},
    **{"uint4_order": "quark_uint4_g32_order", "int4_channel": "quark_int4_channel"},
    **{"uint4_channel": "quark_uint4_channel", "progressive": "quark_int4_channel_twice"},
}


def parts_of(name: str, **change: Any) -> dict[str, np.ndarray]:
    floats = VARIANTS[name].config["float8"]
    parts = {n: a.view(getattr(ml_dtypes, floats[n])) if n in floats else a for n, a in VARIANTS[name].parts.items()}
    return {n: a for n, a in {**parts, **change}.items() if a is not None}


def config_of(name: str, **weight: Any) -> dict[str, Any]:
    """The config of a variant, its weight's scheme changed."""
    config = copy.deepcopy({k: v for k, v in VARIANTS[name].config.items() if k != "float8"})
    if weight:
        config["global_quant_config"]["weight"] |= weight
    return config


@pytest.mark.parametrize("name", FORMS)
def test_decoded_as_quark_decodes(tmp_path: Path, name: str) -> None:
    t = loaded(tmp_path, parts_of(name), config_of(name))
    assert t.format.name == FORMS[name]
    assert_same(t, VARIANTS[name])
    assert_rows(t)
    decoded = decoded_by_mlx(t)
    if name == "fp8_e5m2":
        assert decoded is None
        return
    assert decoded is not None
    held = t.format.to_native(t)
    assert held is not None
    if name == "progressive":  # two products by scales, MLX has one
        assert held.exactness == "rounded" and 0 < held.error < 1e-5
        np.testing.assert_allclose(decoded, t.dequantize(), rtol=3e-7)
    elif held.exactness == "exact":
        np.testing.assert_array_equal(decoded, t.dequantize())
    else:
        step = np.float32(t.parts["weight_scale"]).max()
        assert held.error < 2e-5 and np.abs(decoded - t.dequantize()).max() <= held.error * step


def test_every_variant_is_read_or_refused(tmp_path: Path) -> None:
    assert set(VARIANTS) - set(FORMS) == {"amdfp4"}
    with pytest.raises(UnsupportedError, match="fp4 per_group with scales e5m3, groups of 16"):
        loaded(tmp_path, parts_of("amdfp4"), config_of("amdfp4"))


def test_blocks_of_8_bit_floats(tmp_path: Path) -> None:
    """Quark re-exports them from checkpoints that had them; weight = code * scale of its block."""
    parts = parts_of("fp8_channel", weight_scale=np.array([[1, 0.5, 0.25, 3], [2, 4, 0.75, 1.5]], np.float32))
    t = loaded(tmp_path, parts, config_of("fp8_channel", qscheme="per_block", block_size=[16, 16], ch_axis=None))
    wide = np.kron(parts["weight_scale"], np.ones((16, 16), np.float32))
    np.testing.assert_array_equal(t.dequantize(), parts["weight"].astype(np.float32) * wide)


@pytest.mark.parametrize("code", ["e3m2", "e2m3"])
def test_six_bit_floats_have_the_values_of_ml_dtypes(code: str) -> None:
    kind = getattr(ml_dtypes, {"e3m2": "float6_e3m2fn", "e2m3": "float6_e2m3fn"}[code])
    codes = np.arange(64, dtype=np.uint8)
    bits = (codes[:, None] >> np.arange(6) & 1).astype(np.uint8).reshape(-1)
    packed = np.packbits(bits, bitorder="little").reshape(2, 24)
    parts = {"weight": packed, "weight_scale": np.array([[127], [129]], np.uint8)}
    want = codes.view(kind).astype(np.float32).reshape(2, 32) * np.array([[1], [4]], np.float32)
    t = PackedTensor(MXFP6.of(code), (2, 32), parts)
    np.testing.assert_array_equal(t.dequantize(), want)
    np.testing.assert_array_equal(np.signbit(t.dequantize()), np.signbit(want))
    np.testing.assert_array_equal(decoded_by_mlx(t), want)


def test_outputs_that_fill_no_last_word(tmp_path: Path) -> None:
    """Quark pads codes and zero points of 4 bits; the scales tell how many outputs there are."""
    parts = parts_of("uint4_groups")
    cut = {**parts, "weight_scale": parts["weight_scale"][:, :29]}
    t, whole = loaded(tmp_path, cut, config_of("uint4_groups")), PackedTensor(QuarkInt.of("uint4", 32), (32, 64), parts)
    np.testing.assert_array_equal(t.dequantize(), whole.dequantize()[:29])


def test_which_modules() -> None:
    config = config_of("int8_channel")
    other = config_of("mxfp4")["global_quant_config"]
    plain = {"weight": None, "input_tensors": None}
    config["layer_quant_config"] = {"*.down_proj": other, "model.layers.1.*": plain, "*.layers.1.up_proj": other}
    config["exclude"] = ["lm_head", "*.gate"]
    of = rules(config)
    assert of("model.layers.0.mlp.up_proj")["dtype"] == "int8"  # type: ignore[index]
    assert of("model.layers.1.mlp.down_proj")["dtype"] == "fp4"  # type: ignore[index]
    assert of("model.layers.1.mlp.up_proj") is of("lm_head") is of("model.layers.0.mlp.gate") is None
    by_class = rules({**config_of("int8_channel"), "layer_type_quant_config": {"Linear": other}})
    assert by_class("model.layers.0.mlp.up_proj")["dtype"] == "fp4"  # type: ignore[index]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("fp8_tensor", {"export": {"weight_format": "fake_quantized"}}, "weight_format is 'fake_quantized'"),
    ("uint4_groups", {"export": {"pack_method": "tiles"}}, "pack_method is 'tiles'"),
    ("mxfp4", {"algo_config": [{"name": "rotation", "r1": True, "online_r1_rotation": True}]}, "online_r1_rotation"),
    ("int8_tensor", {"global_quant_config": {"weight": {"dtype": "int3", "qscheme": "per_group"}}}, "int3 per_group"),
    ("int8_tensor", {"global_quant_config": {"weight": [{"dtype": "int8"}, {"dtype": "int4"}]}}, "int8 and int4"),
]


@pytest.mark.parametrize(("name", "change", "said"), REFUSED)
def test_what_is_refused_says_why(tmp_path: Path, name: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        loaded(tmp_path, parts_of(name), {**config_of(name), **change})


def test_rotated_inputs_are_refused(tmp_path: Path) -> None:
    parts = parts_of("int8_channel", input_rotation=np.ones((64, 64), np.int8))
    with pytest.raises(UnsupportedError, match="input_rotation"):
        loaded(tmp_path, parts, config_of("int8_channel"))


NAN = np.full(32, np.nan, np.float32)
DAMAGED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("int8_channel", {"weight_scale": NAN}, {}, "32 scales that make no weights, the first at .0,.: nan"),
    ("uint4_groups", {"weight_scale": np.zeros((2, 32), np.float32)}, {}, "finite scales other than zero"),
    ("uint4_groups", {"weight_zero_point": None}, {}, "lacks its part 'weight_zero_point'"),
    ("uint4_groups", {"weight_scale": None}, {}, "expected weight_scale, weight_zero_point, weight"),
    ("uint4_groups", {}, {"group_size": 16}, r"weight_scale.* float32 \(2, 32\); expected .*\(4, 32\)"),
    ("uint4_groups", {}, {"group_size": None}, "group_size is None"),
    ("uint4_groups", {}, {"dtype": "uint8"}, r"int32 \(64, 4\); expected uint8"),
    ("fp8_tensor", {}, {"dtype": "fp8_e5m2"}, "dtype 'fp8_e5m2', which is fp8_e5m2"),
    ("mxfp6_e3m2", {"weight_scale": np.full((32, 2), 255, np.uint8)}, {}, "64 scales that make no weights"),
    ("mxfp6_e3m2", {"weight": np.zeros((32, 45), np.uint8)}, {}, "no multiple of mxfp6_e3m2's block of 32"),
    ("mxfp4", {"weight_scale": np.zeros((32, 4), np.uint8)}, {}, r"weight_scale is \(32, 4\)"),
]


@pytest.mark.parametrize(("name", "change", "weight", "said"), DAMAGED)
def test_damage_is_told(tmp_path: Path, name: str, change: dict[str, Any], weight: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said) as error:
        loaded(tmp_path, parts_of(name, **change), config_of(name, **weight))
    assert NAME in str(error.value)


def test_scales_of_activations_and_caches_are_told(tmp_path: Path) -> None:
    """Static schemes of inputs, outputs (the cache's, on k_proj and v_proj) and of two stages store these."""
    names = ("input_scale", "input_zero_point", "output_scale", "output_zero_point", "input_scale_2", "output_scale_2")
    parts = parts_of("nvfp4", **dict.fromkeys(names, np.ones((), np.float32)))
    save(tmp_path / "model.safetensors", {f"{NAME}.{n}": a for n, a in parts.items()})
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config_of("nvfp4")}))
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.unsupported is None and set(checkpoint.unused) == {f"{NAME}.{n}" for n in names}
        assert_same(checkpoint[f"{NAME}.weight"], VARIANTS["nvfp4"])


def test_a_packed_module_that_is_excluded(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="excludes this module"):
        loaded(tmp_path, parts_of("int8_channel"), {**config_of("int8_channel"), "exclude": ["*up_proj"]})
