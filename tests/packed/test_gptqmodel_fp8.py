"""gptqmodel's FP8, whose scales divide, against its own quantiser and decoder (tools/fixtures/gptqmodel_fp8.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError
from localq.formats import find
from tests.packed.fixtures import NAME, assert_same, variants
from tests.packed.rawfile import save

PROVES = {"fp8_inverse"}
VARIANTS = variants("gptqmodel_fp8.safetensors")


def write(folder: Path, name: str, config: dict[str, Any], **changes: np.ndarray | None) -> Path:
    said = {**VARIANTS[name].config, **config}
    dtype = getattr(ml_dtypes, said.pop("float8")["weight"])
    parts = {n: a.view(dtype) if n == "weight" else a for n, a in VARIANTS[name].parts.items()}
    parts = {n: a for n, a in {**parts, **changes}.items() if a is not None}
    save(folder / "model.safetensors", {f"{NAME}.{n}": a for n, a in parts.items()})
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": said}))
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_the_peers(tmp_path: Path, name: str) -> None:
    with open_checkpoint(write(tmp_path, name, {})) as checkpoint:
        assert checkpoint.unsupported is None, checkpoint.unsupported
        t = checkpoint[f"{NAME}.weight"]
    assert_same(t, VARIANTS[name])
    assert find(t.format.name) is t.format
    whole = t.dequantize()
    for index in (slice(0, 3), slice(3, 8), np.array([7, 0, 5, 5])):
        np.testing.assert_array_equal(t.rows(index).dequantize(), whole[index])


@pytest.mark.parametrize(
    ("name", "config", "changes", "said"),
    [
        ("block", {"weight_block_size": None}, {}, "weight_block_size is None; two positive"),
        ("block", {"weight_block_size": [8, 48]}, {}, r"\(2, 3\); expected float32 \(2, 2\)"),
        ("block", {"weight_block_size": [8, 40]}, {}, "whole blocks of 8 x 40"),
        ("row", {}, {"weight_scale_inv": np.ones(8, np.float32)}, r"\(8,\); expected float32 \(16,\)"),
        ("row", {}, {"weight_scale_inv": np.zeros(16, np.float32)}, "0.0; expected finite scales other than zero"),
        ("row", {}, {"weight_scale_inv": np.ones((1, 1, 1), np.float32)}, "one a row or one a block"),
    ],
)
def test_damage(tmp_path: Path, name: str, config: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said) as error:
        open_checkpoint(write(tmp_path, name, config, **changes))[f"{NAME}.weight"]
    assert NAME in str(error.value)


@pytest.mark.parametrize("semantics", ["scale", "unsaid"])
def test_other_semantics_are_refused(tmp_path: Path, semantics: str) -> None:
    folder = write(tmp_path, "row", {"weight_scale_semantics": semantics})
    if semantics == "unsaid":
        config = json.loads((folder / "config.json").read_text())
        config["quantization_config"].pop("weight_scale_semantics")
        (folder / "config.json").write_text(json.dumps(config))
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.unsupported is not None and f"weight_scale_semantics '{semantics}'" in checkpoint.unsupported
