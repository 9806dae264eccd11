"""HQQ against what the package itself packs and decodes (tools/fixtures/bitsandbytes_hqq.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.checkpoints.methods.hqq import rules
from localq.errors import CheckpointError
from localq.formats import find
from tests.packed.fixtures import NAME, assert_same, read, variants, write
from tests.packed.native import decoded_by_mlx

PROVES = {"hqq"}
VARIANTS = variants("hqq.safetensors") | variants("hqq_columns.safetensors")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_the_peers(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    t = read(tmp_path, variant.parts, variant.config)
    assert_same(t, variant)
    assert find(t.format.name) is t.format
    whole, out = t.dequantize(), t.shape[0]
    for index in (slice(0, 8), slice(3, 11), slice(None, None, 2), np.array([out - 1, 0, 5, 5]), slice(out - 1, out)):
        np.testing.assert_array_equal(t.rows(index).dequantize(), whole[index])
    joined = t.format.join_rows([t, t])
    assert (joined is None) == (t.format.axis == 0)  # type: ignore[attr-defined]
    if joined is not None:
        np.testing.assert_array_equal(joined.dequantize(), np.concatenate([whole, whole]))


@pytest.mark.parametrize("name", VARIANTS)
def test_mlx_decodes_the_same_weights(tmp_path: Path, name: str) -> None:
    t = read(tmp_path, VARIANTS[name].parts, VARIANTS[name].config)
    found = decoded_by_mlx(t)
    assert (found is None) == (t.format.axis == 0 or t.format.group_size == 16), "axis 1, groups of 32 and more"  # type: ignore[attr-defined]
    if found is not None:
        held = t.format.to_native(t)
        assert held is not None and held.error < 2e-3
        steps = t.parts["scale"].astype(np.float32).reshape(len(found), -1).repeat(t.format.group_size, 1)
        assert np.max(np.abs(found - t.dequantize()) / steps) <= held.error + 1e-5


FULL = VARIANTS["b4_axis1"].parts


def number(value: float, dtype: str = "int32") -> np.ndarray:
    return np.array(value, dtype)


DAMAGE: dict[str, tuple[dict[str, np.ndarray | None], str]] = {
    "no scale": ({"scale": None}, "lacks its part 'scale'"),
    "no shape": ({"shape": None}, "no 'shape', which HQQ writes"),
    "no bits": ({"nbits": None}, "'nbits' beside W_q is missing"),
    "bits are two": ({"nbits": np.array([4, 4], np.int32)}, r"'nbits' beside W_q is int32 \(2,\)"),
    "other bits": ({"nbits": number(7)}, "stored 7 bits as '4bit_u8'"),
    "group": ({"group_size": number(16)}, "config says group_size 32 for this module, its own array 16"),
    "zero group": ({"group_size": number(0)}, "group_size 0"),
    "axis": ({"axis": number(2)}, "axis 2"),
    "short": ({"W_q": FULL["W_q"][:-1]}, r"uint8 \(7, 32\); expected uint8 \(8, 32\)"),
    "shape": ({"shape": np.array([8, 96])}, r"expected uint8 \(12, 32\)"),
    "odd shape": ({"shape": np.array([16, 65])}, "no whole number of groups"),
    "negative": ({"shape": np.array([-16, -64])}, "expected two lengths"),
    "packing": ({"packing": np.frombuffer(b"4bit_u9", np.uint8)}, "'4bit_u9'; localq knows"),
    "tight packing": ({"packing": np.frombuffer(b"2bit_u8", np.uint8)}, "a packing that holds the bits"),
    "nan": ({"zero": np.full_like(FULL["zero"], np.nan)}, "nan; expected finite"),
    "dtype": ({"scale": FULL["scale"].astype(np.float64)}, "float64.*expected float16"),
    "quantised scales": ({"quant_scale": number(1, "uint8")}, "quant_scale: scales quantised again"),
    "one scale": ({"channel_wise": number(0, "uint8")}, "channel_wise false"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_tensor_found_and_expected(tmp_path: Path, case: str) -> None:
    change, said = DAMAGE[case]
    parts = {n: a for n, a in {**FULL, **change}.items() if a is not None}
    write(tmp_path, parts, VARIANTS["b4_axis1"].config)
    with pytest.raises(CheckpointError, match=said) as error:
        with open_checkpoint(tmp_path) as checkpoint:
            if checkpoint.unsupported:
                raise CheckpointError(checkpoint.unsupported)
            checkpoint[f"{NAME}.weight"]
    assert NAME in str(error.value)


def test_settings_per_linear_tag(tmp_path: Path) -> None:
    own = {"mlp.up_proj": {"weight_quant_params": {"nbits": 4, "group_size": 32, "axis": 1}}}
    own["self_attn.q_proj"] = {"weight_quant_params": {"nbits": 3, "group_size": 64, "axis": 0}}
    config = {"quant_method": "hqq", "quant_config": own}
    assert rules(config)("model.layers.1.self_attn.q_proj") == {
        "quant_method": "hqq",
        **own["self_attn.q_proj"]["weight_quant_params"],
    }
    assert_same(read(tmp_path, FULL, config), VARIANTS["b4_axis1"])
    own["mlp.up_proj"]["weight_quant_params"]["nbits"] = 8
    write(tmp_path, FULL, config)
    with pytest.raises(CheckpointError, match="nbits 8 for this module, its own array 4"):
        open_checkpoint(tmp_path)
