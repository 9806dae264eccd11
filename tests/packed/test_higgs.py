"""HIGGS against transformers' quantiser and FLUTE's packer (tools/fixtures/higgs.py): points bit for bit."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError
from localq.formats import find
from tests.factories.tiny import build
from tests.packed.fixtures import NAME, Variant, digest, shown, variants
from tests.packed.models import Packed, compare, write_both
from tests.packed.rawfile import save

PROVES = {"higgs"}
VARIANTS = variants("higgs.safetensors")


def write(folder: Path, parts: dict[str, np.ndarray], config: dict[str, Any]) -> Path:
    import json

    save(folder / "model.safetensors", {f"{NAME}.{part}": array for part, array in parts.items() if part != "weights"})
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": config}))
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_points_and_weights_are_the_peers(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    with open_checkpoint(write(tmp_path, variant.parts, variant.config)) as checkpoint:
        assert checkpoint.unsupported is None, checkpoint.unsupported
        t = checkpoint[f"{NAME}.weight"]
    assert t.shape == variant.shape and find(t.format.name) is t.format
    points = t.format.points(t, np.arange(t.shape[0]))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(shown(points), variant.rows)
    assert digest(points) == variant.sha256
    weights = t.dequantize()
    np.testing.assert_allclose(
        weights[[1, -2]], variant.parts["weights"], atol=1e-6 * np.abs(weights).max(), rtol=0
    )  # float32 sums of 128 terms against float64
    for index in (slice(3, 11), slice(60, 70), slice(None, None, 31), np.array([t.shape[0] - 1, 0, 5, 5])):
        np.testing.assert_array_equal(t.rows(index).dequantize(), weights[index])
    assert t.format.join_rows([t, t]) is None and not t.format.has_native(t)


def test_templates() -> None:
    assert VARIANTS["4_pairs"].config["tune_metadata"][NAME]["template_id"] == 0
    assert find("higgs_3bit_g64_h64_p64") is None and find("higgs_4bit_g64_h96") is None


GOOD: Variant = VARIANTS["4_pairs"]
GRID, SCALES = GOOD.parts["tables2"], GOOD.parts["scales"]
DAMAGE: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "no scales": ({"scales": None}, {}, {}, "lacks its part 'scales'"),
    "grid": ({"tables2": GRID[:8]}, {}, {}, r"\(8, 16, 2\); expected float16\|bfloat16 \(16, 16, 2\)"),
    "nan": ({"scales": np.full_like(SCALES, np.nan)}, {}, {}, "nan; expected finite"),
    "rows": ({"weight": GOOD.parts["weight"][:-1]}, {}, {"N": 252}, "no multiple of 256 rows"),
    "width": ({"weight": GOOD.parts["weight"][:, :40]}, {}, {"K": 40}, "no multiple of higgs_4bit_g64_h64_p64's block"),
    "method": ({}, {"quant_method": "awq"}, {}, "awq|tables2 are HIGGS'"),
    "group": ({}, {"group_size": 32}, {}, "group_size 32"),
    "rotation": ({}, {"hadamard_size": 96}, {}, "hadamard_size 96"),
    "bits": ({}, {"bits": 5}, {}, "bits 5"),
    "other bits": ({}, {}, {"num_bits": 2}, "tune_metadata says num_bits 2; expected 4"),
    "other shape": ({}, {}, {"N": 128}, "tune_metadata says N 128; expected 256"),
    "not tuned": ({}, {"tune_metadata": {}}, {}, "no entry for this module"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_tensor_found_and_expected(tmp_path: Path, case: str) -> None:
    change, config, tuned, said = DAMAGE[case]
    parts = {n: a for n, a in {**GOOD.parts, **change}.items() if a is not None}
    whole = {**copy.deepcopy(GOOD.config), **config}
    if tuned:
        whole["tune_metadata"][NAME] |= tuned
    write(tmp_path, parts, whole)
    with pytest.raises(CheckpointError, match=said) as error:
        with open_checkpoint(tmp_path) as checkpoint:
            checkpoint[f"{NAME}.weight"]
    assert NAME in str(error.value) or case == "method"


@pytest.mark.parametrize(("name", "template"), [("4_pairs", 144), ("3_pairs", 0), ("2_pairs", None)])
def test_unknown_templates_are_refused(tmp_path: Path, name: str, template: Any) -> None:
    config = copy.deepcopy(VARIANTS[name].config)
    config["tune_metadata"][NAME]["template_id"] = template
    with open_checkpoint(write(tmp_path, VARIANTS[name].parts, config)) as checkpoint:
        assert checkpoint.unsupported is not None and f"template_id is {template}" in checkpoint.unsupported


def test_a_grid_stored_as_bfloat16(tmp_path: Path) -> None:
    """Its own dtype, where a writer did not view it as float16, means the same."""
    variant = VARIANTS["4_pairs_bf16"]
    parts = {**variant.parts, "tables2": variant.parts["tables2"].view(ml_dtypes.bfloat16)}
    with open_checkpoint(write(tmp_path, parts, variant.config)) as checkpoint:
        t = checkpoint[f"{NAME}.weight"]
        assert digest(t.format.points(t, np.arange(t.shape[0]))) == variant.sha256  # type: ignore[attr-defined]


def drawn(weight: np.ndarray) -> Packed:
    from localq.formats.higgs import HIGGS

    t = HIGGS.of(4, 64, 128).sample(weight.shape, np.random.default_rng(weight.shape[0]))
    parts = {**t.parts, "scales": (t.parts["scales"] * np.float16(0.03)).astype(np.float16)}
    return parts, type(t)(t.format, t.shape, parts).dequantize()


def test_logits_of_a_whole_model(tmp_path: Path) -> None:
    model = build("llama")
    tuned = {
        name.removesuffix(".weight"): {
            "num_bits": 4,
            "group_size": 64,
            "N": w.shape[0],
            "K": w.shape[1],
            "template_id": 16,
        }
        for name, w in model.weights.items()
        if "_proj" in name
    }
    config = {"quant_method": "higgs", "bits": 4, "group_size": 64, "hadamard_size": 128, "tune_metadata": tuned}
    packed, dense = write_both(model, tmp_path, lambda p, w: drawn if "_proj" in p else None, config)
    loaded, distance = compare(packed, dense)
    assert distance < 1e-4 and {row.way for row in loaded.report.rows if row.format.startswith("higgs")} == {
        "reference"
    }
