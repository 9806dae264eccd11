"""quanto, torchao, BitNet and transformers' metal against the peers' own packers (tools/fixtures/quanto_torchao.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.formats import find
from localq.formats.base import PackedTensor
from tests.packed.fixtures import NAME, Variant, assert_same, variants
from tests.packed.native import decoded_by_mlx
from tests.packed.rawfile import save

PROVES = {
    *("quanto_int8", "quanto_float8", "torchao_int8", "torchao_float8"),
    *("bitnet", "bitnet_inverse", "bitnet_online", "metal"),
}
VARIANTS = variants("quanto_torchao.safetensors")


def load(folder: Path, variant: Variant, config: dict[str, Any] | None = None, **change: Any) -> PackedTensor:
    """The variant's module, read back; `change` replaces parts (None: takes away) and `header` its entry there."""
    said = dict(variant.config or {}) if config is None else dict(config)
    header = change.pop("header", said.pop("header", None))
    parts = {n.replace("__", "."): a for n, a in change.items()}
    parts = {n: a for n, a in {**variant.parts, **parts}.items() if a is not None}
    extra = {} if header is None else {f"{NAME}.weight": header, "tensor_names": json.dumps([f"{NAME}.weight"])}
    kinds = said.pop("float8", {})
    parts = {n: a.view(getattr(ml_dtypes, kinds[n])) if n in kinds else a for n, a in parts.items()}
    save(folder / "model.safetensors", {f"{NAME}.{n}": a for n, a in parts.items()}, extra)
    whole = {"model_type": "llama"} | ({"quantization_config": said} if said else {})
    (folder / "config.json").write_text(json.dumps(whole))
    with open_checkpoint(folder) as checkpoint:
        if checkpoint.unsupported:
            raise UnsupportedError(checkpoint.unsupported)
        return checkpoint[f"{NAME}.weight"]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_the_peers(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    t = load(tmp_path, variant)
    assert_same(t, variant)
    assert find(t.format.name) is t.format
    whole, out = t.dequantize(), t.shape[0]
    for index in (slice(0, 8), slice(3, 11), slice(None, None, 2), np.array([out - 1, 0, 5, 5]), slice(out - 1, out)):
        np.testing.assert_array_equal(t.rows(index).dequantize(), whole[index])
    if "online" not in name:
        joined = t.format.join_rows([t, t])
        if joined is not None:
            np.testing.assert_array_equal(joined.dequantize(), np.concatenate([whole, whole]))


@pytest.mark.parametrize("name", VARIANTS)
def test_mlx_decodes_the_same_weights(tmp_path: Path, name: str) -> None:
    t = load(tmp_path, VARIANTS[name])
    found = decoded_by_mlx(t)
    assert (found is None) == ("float8" in name or "_e" in name)
    if found is not None:
        held = t.format.to_native(t)
        assert held is not None and held.exactness == ("rounded" if "int4_groups" in name else "exact")
        if held.exactness == "exact":
            np.testing.assert_array_equal(found, t.dequantize())
        else:  # float32 scales times 128 and more, once in a bias
            assert held.error < 2e-5
            np.testing.assert_allclose(found, t.dequantize(), atol=2e-5 * t.parts["_weight_scale"].max())


BIT = VARIANTS["bitnet_autobitlinear"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weight": np.full_like(BIT.parts["weight"], 0xFF)}, "holds the code 3"),
        ({"weight_scale": np.zeros_like(BIT.parts["weight_scale"])}, "0.0; expected finite scales other than zero"),
        ({"weight_scale": np.ones(2, np.float32)}, r"\(2,\); expected float16\|bfloat16\|float32 \(1,\)"),
        ({"weight": BIT.parts["weight"][0]}, r"expected uint8 \[out / 4, in\]"),
    ],
)
def test_damaged_bitnets(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said) as error:
        load(tmp_path, BIT, **change)
    assert NAME in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"linear_class": "trilinear"}, "linear_class is 'trilinear'"),
        ({"quantization_mode": "later"}, "quantization_mode 'later'"),
        ({"modules_to_not_convert": ["up_proj"]}, "excludes this module"),
    ],
)
def test_bitnet_settings_that_lie(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        load(tmp_path, BIT, {**BIT.config, **change})


def test_a_norm_before_every_linear_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="use_rms_norm puts a norm before every linear layer"):
        load(tmp_path, BIT, {**BIT.config, "use_rms_norm": True})


def test_online_leaves_heads_and_embeddings_as_they_are(tmp_path: Path) -> None:
    variant = VARIANTS["bitnet_online_float32"]
    weight = variant.parts["weight"]
    names = ("lm_head", "model.embed_tokens", "model.layers.0.self_attn.q_proj")
    save(tmp_path / "model.safetensors", {f"{name}.weight": weight for name in names})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": variant.config}))
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.unsupported is None
        assert [checkpoint.specs[f"{name}.weight"].format for name in names] == ["f32", "f32", "bitnet_online"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("Int4TilePackedTo4dTensor", "torchao stored this tensor as 'Int4TilePackedTo4dTensor'"),
        ("Int4PlainInt32Tensor", "as 'Int4PlainInt32Tensor'"),
        (None, "no entry about this torchao tensor"),
        ("{", "no JSON"),
    ],
)
def test_torchao_types_that_are_not_decoded(tmp_path: Path, kind: str | None, said: str) -> None:
    variant = VARIANTS["torchao_int8"]
    header = json.dumps({"_type": kind, "_data": {}}) if kind and kind != "{" else kind
    with pytest.raises(CheckpointError, match=said):
        load(tmp_path, variant, {"quant_method": "torchao"}, header=header)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_weight_scale": None}, "has the array 'scale'; stored are _weight_qdata, _weight_zero_point"),
        ({"_weight_scale": np.ones((15, 1), np.float32)}, r"\(15, 1\); expected \(1, 1\) or \(16, groups\)"),
        ({"_weight_scale": np.full((16, 1), np.nan, np.float32)}, "nan; expected finite"),
    ],
)
def test_damaged_torchao(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        load(tmp_path, VARIANTS["torchao_int8"], **change)


def test_quanto_groups_have_no_shape(tmp_path: Path) -> None:
    parts = {"weight._data._data": np.zeros((4, 128), np.uint8), "weight._scale": np.ones((8, 1), np.float32)}
    parts["weight._shift"] = np.ones((8, 1), np.float32)
    save(tmp_path / "model.safetensors", {f"{NAME}.{n}": a for n, a in parts.items()})
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.unsupported is not None and "stored without the shape" in checkpoint.unsupported


def test_qbiases_without_the_method(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="qbiases are the metal method's"):
        load(tmp_path, VARIANTS["metal_4"], {"quant_method": "bitsandbytes"})
