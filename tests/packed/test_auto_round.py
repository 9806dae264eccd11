"""AutoRound's configs, as auto-round 0.16.1 wrote them for a tiny llama, and who answers for their modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.checkpoints.methods import find_rules
from localq.checkpoints.modules import Module
from localq.errors import CheckpointError, UnsupportedError
from tests.factories.tiny import build
from tests.packed.fixtures import NAME, assert_same, digest, read, variants, write
from tests.packed.models import awq, compare, gptq, write_both
from tests.packed.test_models_int import BOUND, SKIPPED

# Its own `quantization_config`, layer_config={"...up_proj": 8 bits in 64, "...k_proj": 16 bits}, formats auto_round,
# auto_round (asymmetric) and auto_gptq.
WRITTEN: dict[str, dict[str, Any]] = {
    "gptq": {
        "autoround_version": "0.16.1",
        "bits": 4,
        "block_name_to_quantize": "model.layers",
        "data_type": "int",
        "enable_quanted_input": False,
        "extra_config": {
            "model.layers.0.mlp.up_proj": {"bits": 8, "group_size": 64},
            "model.layers.1.self_attn.k_proj": {"bits": 16},
        },
        "group_size": 32,
        "packing_format": "auto_round:auto_gptq",
        "quant_method": "auto-round",
        "sym": True,
    },
    "awq": {
        "autoround_version": "0.16.1",
        "bits": 4,
        "block_name_to_quantize": "model.layers",
        "data_type": "int",
        "enable_quanted_input": False,
        "group_size": 32,
        "packing_format": "auto_round:auto_awq",
        "quant_method": "auto-round",
        "sym": False,
    },
    "auto_gptq": {
        "autoround_version": "0.16.1",
        "bits": 4,
        "damp_percent": 0.01,
        "data_type": "int",
        "desc_act": False,
        "dynamic": {
            r"+:.*model\.layers\.0\.mlp\.up_proj.*": {"bits": 8, "group_size": 64, "sym": True},
            r"-:.*model\.layers\.1\.self_attn\.k_proj.*": {},
        },
        "enable_quanted_input": False,
        "group_size": 32,
        "lm_head": False,
        "modules_in_block_to_quantize": [["mlp.down_proj", "mlp.up_proj", "self_attn.k_proj"]],
        "provider": "auto-round",
        "quant_method": "gptq",
        "sym": True,
        "true_sequential": False,
    },
}


def settings(config: dict[str, Any], path: str) -> Any:
    return find_rules(config)(Module(f"{path}.weight", path, {"qweight": "x"}))


@pytest.mark.parametrize("name", ["gptq", "auto_gptq"])
def test_a_model_with_overrides(tmp_path: Path, name: str) -> None:
    def pick(path, weight):
        if SKIPPED.search(path) or path == "model.layers.1.self_attn.k_proj":
            return None
        return gptq(8, 64) if path == "model.layers.0.mlp.up_proj" else gptq(4, 32)

    packed, dense = write_both(build("llama"), tmp_path, pick, WRITTEN[name])
    model, distance = compare(packed, dense)
    assert distance < BOUND
    counts = {row.format: row.matrices for row in model.report.rows}
    assert counts == {"gptq_4bit_g32": 12, "gptq_8bit_g64": 1, "f32": 3}


def test_an_asymmetric_model(tmp_path: Path) -> None:
    packed, dense = write_both(
        build("llama"), tmp_path, lambda p, w: None if SKIPPED.search(p) else awq(32), WRITTEN["awq"]
    )
    model, distance = compare(packed, dense)
    assert distance < BOUND
    assert {row.format for row in model.report.rows} == {"awq_4bit_g32_asym", "f32"}


def test_names_go_before_patterns_and_patterns_are_searched() -> None:
    extra = {
        r"layers\.1\..*": {"bits": 2},
        "model.layers.1.mlp.up_proj": {"bits": 8, "group_size": 128, "sym": False},
        ".*gate$": {"bits": 16},
    }
    config = {**WRITTEN["gptq"], "extra_config": extra}
    up = settings(config, "model.layers.1.mlp.up_proj")
    assert (up["bits"], up["group_size"], up["sym"], up["checkpoint_format"]) == (8, 128, False, "gptq")
    assert settings(config, "model.layers.1.mlp.down_proj")["bits"] == 2
    assert settings(config, "model.layers.0.mlp.down_proj")["bits"] == 4
    assert settings(config, "model.layers.0.mlp.gate") is None


@pytest.mark.parametrize(
    ("packing", "method", "kind"),
    [
        ("auto_round:auto_gptq", "gptq", "gptq"),
        ("auto_round:gptq:exllamav2", "gptq", "gptq"),
        ("auto_round:gptqmodel", "gptq", "gptq_v2"),
        ("auto_round", "gptq", "gptq_v2"),
        ("auto_round:awq", "awq", None),
    ],
)
def test_packing_formats(packing: str, method: str, kind: str | None) -> None:
    found = settings({**WRITTEN["gptq"], "packing_format": packing}, "model.layers.1.mlp.up_proj")
    assert found["quant_method"] == method and (kind is None or found["checkpoint_format"] == kind)


def test_zero_points_kept_as_they_are_decode_otherwise(tmp_path: Path) -> None:
    variant = variants("gptq.safetensors")["ar_raw_4"]
    (tmp_path / "v1").mkdir()
    shifted = read(tmp_path / "v1", variant.parts, {**variant.config, "packing_format": "auto_round:auto_gptq"})
    assert_same(read(tmp_path, variant.parts, variant.config), variant)
    assert (shifted.dequantize() != read(tmp_path, variant.parts, variant.config).dequantize()).any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"packing_format": "auto_round:tomorrow"}, "packing_format 'auto_round:tomorrow'"),
        ({"data_type": "mx_int"}, "data_type 'mx_int'"),
        ({"extra_config": {r"(?i)up": {"bits": 8}}}, "group"),
    ],
)
def test_what_is_not_known_is_refused_by_name(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    variant = variants("gptq.safetensors")["ar_4"]
    with open_checkpoint(write(tmp_path, variant.parts, {**variant.config, **change})) as checkpoint:
        with pytest.raises(UnsupportedError, match=said):
            raise UnsupportedError(checkpoint.unsupported or "")


def test_a_module_of_16_bits_that_is_packed(tmp_path: Path) -> None:
    variant = variants("gptq.safetensors")["ar_4"]
    write(tmp_path, variant.parts, {**variant.config, "extra_config": {NAME: {"bits": 16}}})
    with pytest.raises(CheckpointError, match="excludes this module"):
        open_checkpoint(tmp_path)


# What auto-round 0.16.1 wrote for the schemes FP8_BLOCK and MXFP4 (keys about activations left out).
FP8 = {
    **{"quant_method": "auto-round", "packing_format": "auto_round:fp8", "bits": 8, "data_type": "fp", "sym": True},
    **{"activation_scheme": "dynamic", "fmt": "e4m3", "group_size": [128, 128], "weight_block_size": [128, 128]},
}
MXFP4 = {
    **{"quant_method": "auto-round", "packing_format": "auto_round:llm_compressor", "bits": 4, "data_type": "mx_fp"},
    **{"group_size": 32, "sym": True, "extra_config": {"model.layers.1.mlp.up_proj": {"bits": 16}}},
}


def test_float_packings_are_answered_as_their_own_methods() -> None:
    found = settings(FP8, "model.layers.1.mlp.up_proj")
    assert found["quant_method"] == "fp8" and found["weight_block_size"] == [128, 128]
    assert settings(MXFP4, "model.layers.0.mlp.up_proj")["quant_method"] == "compressed-tensors"
    assert settings(MXFP4, "model.layers.1.mlp.up_proj") is None


def test_mxfp4_of_auto_round(tmp_path: Path) -> None:
    """Two rows of E2M1 codes 0 to 15, low nibble first, with the scales 1/2 and 2."""
    codes = np.tile(np.arange(16, dtype=np.uint8), 2)
    parts = {"weight_packed": np.tile(codes[::2] | codes[1::2] << 4, (2, 1)), "weight_scale": np.uint8([[126], [128]])}
    t = read(tmp_path, parts, MXFP4)
    e2m1 = np.float32([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    want = np.tile(np.concatenate([e2m1, -e2m1]), 2)
    np.testing.assert_array_equal(t.dequantize(), np.stack([want / 2, want * 2]))


FORMATS = {
    "MXFP4": "mxfp4_packed",
    "MXFP8": "mxfp8_bytes",
    "NVFP4": "nvfp4_packed",
    "FP8_BLOCK": "fp8_e4m3_block128_inv",
}


@pytest.mark.parametrize("scheme", FORMATS)
def test_float_packings_written_by_auto_round(tmp_path: Path, scheme: str) -> None:
    """Its own decode, which is in bfloat16 for blocks of FP8 and multiplies NVFP4's scales in another order."""
    variant = variants("auto_round.safetensors")[scheme]
    parts = dict(variant.parts)
    want = parts.pop("weights", None)
    t = read(tmp_path, parts, variant.config)
    assert t.format.name == FORMATS[scheme] and t.shape == variant.shape
    weights = t.dequantize()
    if scheme == "FP8_BLOCK":
        weights = weights.astype(ml_dtypes.bfloat16).astype(np.float32)
    if want is None:
        assert digest(weights) == variant.sha256
    else:
        assert scheme == "NVFP4"
        np.testing.assert_allclose(weights, want, rtol=3e-7, atol=0)


def test_a_rotation_of_auto_round_is_refused(tmp_path: Path) -> None:
    variant = variants("auto_round.safetensors")["MXFP4"]
    config = {**variant.config, "rotation_config": {"hadamard_type": "hadamard", "block_size": 32}}
    with open_checkpoint(write(tmp_path, variant.parts, config)) as checkpoint:
        assert checkpoint.unsupported is not None and "rotation_config" in checkpoint.unsupported
