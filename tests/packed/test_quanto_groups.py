"""quanto's int4 and int2 against the library's own writer and decoder (tools/fixtures/quanto_groups.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError
from localq.formats import find
from localq.formats.quanto_groups import QuantoGroups, group_of
from tests.factories.files import save_weights, start_folder
from tests.factories.tiny import build
from tests.packed.fixtures import assert_same, variants
from tests.packed.models import compare
from tests.packed.native import decoded_by_mlx
from tests.packed.rawfile import save

PROVES = {"quanto_groups"}
VARIANTS = variants("quanto_groups.safetensors")
DATA = "weight._data._data"


def write(folder: Path, parts: dict[str, np.ndarray], config: dict[str, Any], **changes: Any) -> Path:
    own = {**config, **changes}
    save(folder / "model.safetensors", {f"{own['module']}.{part}": array for part, array in parts.items()})
    whole = {"model_type": "llama"} | ({"hidden_size": own["size"]} if own["size"] else {})
    (folder / "config.json").write_text(json.dumps(whole))
    if own["qmap"] is not None:
        (folder / "quanto_qmap.json").write_text(json.dumps(own["qmap"]))
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_the_peers(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    with open_checkpoint(write(tmp_path, variant.parts, variant.config)) as checkpoint:
        assert checkpoint.unsupported is None, checkpoint.unsupported
        t = checkpoint[f"{variant.config['module']}.weight"]
    assert_same(t, variant)
    assert find(t.format.name) is t.format
    whole, out = t.dequantize(), t.shape[0]
    for index in (slice(0, 3), slice(2, 7), slice(None, None, 2), np.array([out - 1, 0, 5, 5])):
        np.testing.assert_array_equal(t.rows(index).dequantize(), whole[index])
    native = t.format.to_native(t)
    assert (native is not None) == t.format.has_native(t) == (t.shape[1] % 32 == 0)
    if native is not None:
        assert native.error < 1e-6
        np.testing.assert_allclose(decoded_by_mlx(t), whole, atol=1e-7 * np.abs(whole).max(), rtol=0)


def test_short_scales_are_exact_in_affine() -> None:
    for fmt in QuantoGroups.examples():
        t = fmt.sample((16, 256), np.random.default_rng(1))
        native = fmt.to_native(t)
        assert native is not None and native.exactness == "exact" and native.scales.dtype == np.float16
        np.testing.assert_array_equal(decoded_by_mlx(t), t.dequantize())


def test_groups_as_the_library_chooses_them() -> None:
    assert [group_of(n) for n in (64, 128, 192, 256, 160, 288, 200, 4096)] == [64, 128, 96, 128, 32, 96, 200, 128]


GOOD = VARIANTS["int4_g128"]
QMAP, PATH = GOOD.config["qmap"], GOOD.config["module"]
DAMAGE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no scale": ({"weight._scale": None}, {}, r"weight._scale \(\); expected"),
    "no shift": ({"weight._shift": None}, {}, "lacks its part 'weight._shift'"),
    "rows": ({DATA: GOOD.parts[DATA][:-1]}, {}, "15 rows for 32 scales; expected a half or a quarter"),
    "group": ({DATA: GOOD.parts[DATA][:, :64]}, {}, "32 groups of 64 weights; expected rows of 256 in groups of 128"),
    "hidden size": ({}, {"size": 192}, "32 groups of 128 weights; expected rows of 192 in groups of 96"),
    "width": ({}, {"qmap": {PATH: {"weights": "qint2"}}}, "says 'qint2'; the arrays are those of qint4"),
    "qmap": ({}, {"qmap": {"x": 4}}, "no object of objects"),
    "not named": ({}, {"qmap": {"model.x": {"weights": "qint4"}}}, "excludes this module"),
    "dtype": ({DATA: GOOD.parts[DATA].astype(np.int32)}, {}, "int32"),
    "nan": ({"weight._scale": np.full((32, 1), np.nan, np.float32)}, {}, "nan; expected finite"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_tensor_found_and_expected(tmp_path: Path, case: str) -> None:
    change, config, said = DAMAGE[case]
    parts = {n: a for n, a in {**GOOD.parts, **change}.items() if a is not None}
    write(tmp_path, parts, GOOD.config, **config)
    with pytest.raises(CheckpointError, match=said) as error:
        with open_checkpoint(tmp_path) as checkpoint:
            checkpoint[f"{PATH}.weight"]
    assert PATH in str(error.value) or case == "qmap"


OTHER = "model.adapter.layers.0.mlp.up_proj"


@pytest.mark.parametrize(
    "changes",
    [{"qmap": None}, {"size": 0}, {"module": OTHER, "qmap": {OTHER: {"weights": "qint4"}}}],
)
def test_unknown_shapes_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Without the library's own list, the model's size, or a name that says which side of the matrix it is."""
    with open_checkpoint(write(tmp_path, GOOD.parts, GOOD.config, **changes)) as checkpoint:
        assert checkpoint.unsupported is not None and "stored without the shape" in checkpoint.unsupported


def test_logits_of_a_whole_model(tmp_path: Path) -> None:
    model = build("llama")
    packed, dense, qmap = dict(model.weights), dict(model.weights), {}
    for name, weight in model.weights.items():
        if "_proj" in name:
            t = QuantoGroups.of(4, 128).sample(weight.shape, np.random.default_rng(len(qmap)))
            parts = {n: (p * np.float16(0.1) if "_s" in n else p) for n, p in t.parts.items()}
            path = name.removesuffix(".weight")
            packed |= {f"{path}.{part}": array for part, array in parts.items()}
            dense[name] = type(t)(t.format, t.shape, parts).dequantize()
            qmap[path] = {"weights": "qint4", "activations": "none"}
            packed.pop(name)
    folders = start_folder(model, tmp_path / "packed", {}), start_folder(model, tmp_path / "dense", {})
    save(folders[0] / "model.safetensors", packed)
    (folders[0] / "quanto_qmap.json").write_text(json.dumps(qmap))
    save_weights(folders[1], dense)
    loaded, distance = compare(*folders)
    ways = {row.way for row in loaded.report.rows if row.format.startswith("quanto")}
    assert distance < 1e-4 and ways == {"native affine 4-bit g128"}
