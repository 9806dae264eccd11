"""ModelOpt's layouts against nvidia-modelopt's own export (tools/fixtures/modelopt_layers.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.checkpoints.methods.modelopt import rules
from localq.errors import CheckpointError, UnsupportedError
from localq.formats import find
from localq.formats.base import PackedTensor
from tests.packed.fixtures import NAME, Variant, assert_same, variants
from tests.packed.native import assert_rows, decoded_by_mlx
from tests.packed.rawfile import save

PROVES = {"nvfp4_modelopt", "mxfp4_modelopt", "modelopt_int4"}
VARIANTS = variants("modelopt.safetensors")
FORMS = {
    **{"nvfp4": "nvfp4_modelopt", "nvfp4_weight_only": "nvfp4_modelopt", "nvfp4_awq": "nvfp4_modelopt"},
    **{"fp8": "fp8_e4m3_tensor", "fp8_channel": "fp8_e4m3_channel_flat", "mxfp4": "mxfp4_modelopt"},
    **{"fp8_blocks": "fp8_e4m3_block128_grid4", "mxfp8": "mxfp8_bytes"},
    **{"int4": "modelopt_int4_g128", "int4_awq": "modelopt_int4_g128"},
}


def parts_of(name: str, **change: Any) -> dict[str, np.ndarray]:
    """The arrays of a variant; codes in blocks are drawn by the generator's rule."""
    variant = VARIANTS[name]
    parts = dict(variant.parts)
    if name == "fp8_blocks":
        places = np.arange(np.prod(variant.shape), dtype=np.int64)
        codes = ((places * 40503 >> 4) % 127 + 128 * (places % 2)).astype(np.uint8)
        parts["weight"] = codes.reshape(variant.shape).view(ml_dtypes.float8_e4m3fn)
    return {n: a for n, a in {**parts, **change}.items() if a is not None}


def load(folder: Path, parts: dict[str, np.ndarray], config: dict[str, Any], own: bool = False) -> PackedTensor:
    """The module of a folder whose settings are in config.json, or (`own`) in hf_quant_config.json alone."""
    save(folder / "model.safetensors", {f"{NAME}.{n}": a for n, a in parts.items()})
    whole: dict[str, Any] = {"model_type": "llama"}
    if own:
        (folder / "hf_quant_config.json").write_text(json.dumps(config))
    else:
        whole["quantization_config"] = config
    (folder / "config.json").write_text(json.dumps(whole))
    with open_checkpoint(folder) as checkpoint:
        if checkpoint.unsupported:
            raise UnsupportedError(checkpoint.unsupported)
        assert set(checkpoint.unused) == ({f"{NAME}.input_scale"} if "input_scale" in parts else set())
        return checkpoint[f"{NAME}.weight"]


@pytest.mark.parametrize("own", [False, True], ids=["config.json", "hf_quant_config.json"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_the_peers(tmp_path: Path, name: str, own: bool) -> None:
    variant: Variant = VARIANTS[name]
    config = variant.config["hf_quant_config" if own else "quantization_config"]
    t = load(tmp_path, parts_of(name), config, own)
    assert_same(t, variant)
    assert t.format.name == FORMS[name] and find(FORMS[name]) is t.format


def test_one_scale_as_a_scalar(tmp_path: Path) -> None:
    """As most published FP8 files have it."""
    scale = VARIANTS["fp8"].parts["weight_scale"].reshape(())
    t = load(tmp_path, parts_of("fp8", weight_scale=scale), VARIANTS["fp8"].config["quantization_config"])
    assert t.format.name == "fp8_e4m3_tensor_scalar"
    assert_same(t, VARIANTS["fp8"])
    assert_rows(t)


@pytest.mark.parametrize("name", VARIANTS)
def test_rows_and_mlx(tmp_path: Path, name: str) -> None:
    t = load(tmp_path, parts_of(name), VARIANTS[name].config["quantization_config"])
    if name.startswith("int4"):
        whole = t.dequantize()
        for index in (slice(0, 8), slice(3, 17), slice(None, None, 2), np.array([23, 0, 5, 5]), np.arange(24)[::-1]):
            np.testing.assert_array_equal(t.rows(index).dequantize(), whole[index])
        if name == "int4":
            np.testing.assert_array_equal(t.rows(slice(2, 7)).dequantize(), whole[2:7])
        else:
            with pytest.raises(UnsupportedError, match="pairs"):
                t.rows(slice(0, 5))
    else:
        assert_rows(t)
    held, found = t.format.to_native(t), decoded_by_mlx(t)
    if name == "fp8_blocks":
        assert held is None  # scales that vary along the inputs and are no powers of two
        return
    assert held is not None and found is not None
    if name.endswith("awq"):
        assert held.input_scale is not None and not np.array_equal(held.input_scale, np.ones(256))
    if held.exactness == "exact":
        np.testing.assert_array_equal(found, t.dequantize())
    else:  # the second scale multiplied in another order; code * scale - 8 * scale rounded in between
        assert held.error < 2e-5
        assert np.abs(found - t.dequantize()).max() < 4e-6 * np.abs(t.dequantize()).max()


def test_the_same_inputs_scale_joins_and_another_does_not(tmp_path: Path) -> None:
    for name in ("nvfp4_awq", "int4_awq"):
        t = load(tmp_path, parts_of(name), VARIANTS[name].config["quantization_config"])
        joined = t.format.join_rows([t, t])
        assert joined is not None
        np.testing.assert_array_equal(joined.dequantize(), np.concatenate([t.dequantize()] * 2))
        other = PackedTensor(t.format, t.shape, {**t.parts, "pre_quant_scale": 2 * t.parts["pre_quant_scale"]})
        assert t.format.join_rows([t, other]) is None


def test_excluded_names_with_wildcards() -> None:
    """As in hf_quant_config.json, and under the other key in config.json."""
    inner = {"quant_algo": "NVFP4", "group_size": 16}
    names = ["lm_head", "model.layers.0*", "*.mlp.gate", "model.layers.?.self_attn.q_proj"]
    for config in (
        {"producer": {"name": "modelopt"}, "quantization": {**inner, "exclude_modules": names}},
        {"quant_method": "modelopt", **inner, "ignore": names},
    ):
        answer = rules(config)
        out = ("lm_head", "model.layers.0.mlp.up_proj", "model.layers.3.mlp.gate", "model.layers.2.self_attn.q_proj")
        assert [answer(path) for path in out] == [None] * 4
        kept = answer("model.layers.1.mlp.gate_proj")
        assert kept is not None and kept["quant_algo"] == "NVFP4"


def test_layers_with_schemes_of_their_own() -> None:
    layers = {"a.up_proj": {"quant_algo": "NVFP4", "group_size": 16}, "a.q_proj": {"quant_algo": "FP8"}}
    answer = rules({"quantization": {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers}})
    found = [answer(path) for path in ("a.up_proj", "a.q_proj", "lm_head")]
    assert [None if one is None else one["quant_algo"] for one in found] == ["NVFP4", "FP8", None]


@pytest.mark.parametrize("algo", ["NVFP4_SVD", "W4A8_AWQ", "W8A8_SQ_PER_CHANNEL", "W4A8_NVFP4_FP8", "TOMORROW", None])
def test_other_schemes_are_refused_by_name(tmp_path: Path, algo: str | None) -> None:
    with pytest.raises(UnsupportedError, match=f"quant_algo is {algo!r}"):
        load(tmp_path, parts_of("fp8"), {"quant_method": "modelopt", "quant_algo": algo})


NAN = np.full((24, 2), np.nan, np.float32)
DAMAGE: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "excluded": ("nvfp4", {}, {"ignore": ["*up_proj"]}, "excludes this module"),
    "no second scale": ("nvfp4", {"weight_scale_2": None}, {}, "weight_scale_2|recognises"),
    "second scale 0": ("nvfp4", {"weight_scale_2": np.zeros((), np.float32)}, {}, "weight_scale_2.*0.0"),
    "short scales": ("nvfp4", {"weight_scale": parts_of("nvfp4")["weight_scale"][:, :-1]}, {}, r"\(24, 15\)"),
    "a foreign part": (
        "nvfp4",
        {"weight_zero_point": np.zeros((24, 16), np.uint8)},
        {},
        "weight_zero_point|recognises",
    ),
    "inputs 0": ("nvfp4_awq", {"pre_quant_scale": np.full(256, np.inf, np.float32)}, {}, r"\(0,\): inf"),
    "inputs short": ("nvfp4_awq", {"pre_quant_scale": np.ones(255, np.float32)}, {}, r"\(255,\).*\(256,\)"),
    "4 bits NaN": ("int4", {"weight_scale": NAN}, {}, r"\(0, 0\): nan"),
    "4 bits 0": ("int4", {"weight_scale": 0 * parts_of("int4")["weight_scale"]}, {}, r"\(0, 0\): 0.0"),
    "4 bits inputs 0": ("int4_awq", {"pre_quant_scale": np.zeros(256, np.float32)}, {}, r"\(0,\): 0.0"),
    "4 bits group": ("int4", {}, {"group_size": 64}, "groups of 64; weight_scale has one per 128"),
    "4 bits rows": (
        "int4",
        {"weight_scale": np.ones((12, 2), np.float32)},
        {},
        r"two outputs a byte; scales \(12, 2\)",
    ),
    "8 bits grid": ("fp8_blocks", {"weight_scale": np.ones((2, 1, 1, 1), np.float32)}, {}, r"\(2, 1, 1, 1\).*\(2, 2\)"),
    "8 bits 0": ("fp8", {"weight_scale": np.zeros((), np.float32)}, {}, "0.0"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_contradicts_itself_is_refused(tmp_path: Path, name: str) -> None:
    variant, parts, settings, words = DAMAGE[name]
    config = {**VARIANTS[variant].config["quantization_config"], **settings}
    with pytest.raises((CheckpointError, UnsupportedError), match=words) as caught:
        load(tmp_path, parts_of(variant, **parts), config)
    assert NAME in str(caught.value)
