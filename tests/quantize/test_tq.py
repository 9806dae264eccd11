"""Folders written in tq2, tq3 and tq4: read by safetensors' own reader, run by localq, and never left half written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError, UsageError
from localq.models.loader import load_model
from localq.quantize.tq import quantize_folder
from tests.factories import build, write_hf
from tests.models.folders import difference, packed_logits, plain_logits

ERRORS = {"tq2": 0.1175, "tq3": 0.03455, "tq4": 0.009501}  # of the variance, for Gaussian weights: localq/formats/tq.py


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hf(build("qwen3_moe"), tmp_path_factory.mktemp("tq") / "source")


@pytest.mark.parametrize("form", sorted(ERRORS))
def test_a_folder_is_written_and_runs(tmp_path: Path, source: Path, form: str) -> None:
    report = quantize_folder(source, tmp_path / "out", form)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert len(report.written) == 2 * (4 + 3 * 4) and report.files == ["model.safetensors"]
    assert report.error**2 == pytest.approx(ERRORS[form], rel=0.1)
    assert {"model.embed_tokens.weight", "lm_head.weight", "model.layers.0.mlp.gate.weight"} <= set(report.kept)
    with safe_open(tmp_path / "out" / "model.safetensors", "np") as file:
        name = "model.layers.0.self_attn.q_proj"
        assert {f"{name}.weight", f"{name}.norms", f"{name}.seed"} <= set(file.keys())
        assert file.get_tensor(f"{name}.weight").dtype == np.uint32
    with open_checkpoint(tmp_path / "out") as checkpoint, open_checkpoint(source) as before:
        assert checkpoint.formats[form] == len(report.written)
        for name in report.kept:
            np.testing.assert_array_equal(checkpoint[name].dequantize(), before[name].dequantize())
        model, _ = load_model(checkpoint)
    if form == "tq4":
        assert difference(packed_logits(model), plain_logits(source)) < 0.2
    kept = {p.name for p in source.iterdir()} - {"config.json"}
    assert kept <= {p.name for p in (tmp_path / "out").iterdir()}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["quant_method"] == "tq"


def test_shards_and_their_index(tmp_path: Path, source: Path) -> None:
    report = quantize_folder(source, tmp_path / "out", "tq4", shard_bytes=400_000)
    assert len(report.files) > 2
    with open_checkpoint(tmp_path / "out") as checkpoint:
        assert checkpoint.formats["tq4"] == len(report.written)
    quantize_folder(source, tmp_path / "whole", "tq4")
    with open_checkpoint(tmp_path / "out") as a, open_checkpoint(tmp_path / "whole") as b:
        for name in report.written:
            assert all(np.array_equal(a[name].parts[p], b[name].parts[p]) for p in a[name].parts)


def test_refusals(tmp_path: Path, source: Path) -> None:
    quantize_folder(source, tmp_path / "out", "tq2")
    with pytest.raises(UsageError, match="exists"):
        quantize_folder(source, tmp_path / "out", "tq2")
    with pytest.raises(UnsupportedError, match="packed already"):
        quantize_folder(tmp_path / "out", tmp_path / "again", "tq4")
    with pytest.raises(UsageError, match="tq2, tq3, tq4"):
        quantize_folder(source, tmp_path / "again", "tq5")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_a_weight_that_is_not_finite_leaves_nothing(tmp_path: Path) -> None:
    model = build("llama")
    model.weights["model.layers.1.mlp.up_proj.weight"][3, 5] = np.nan
    source = write_hf(model, tmp_path / "source")
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj"):
        quantize_folder(source, tmp_path / "out", "tq4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"]
