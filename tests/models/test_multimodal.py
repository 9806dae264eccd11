"""Multimodal folders run their text part, however transformers 4, transformers 5 or MLX spelt it, packed or not.

The tower's array cannot be decoded by anyone, and may be missing: what is left out is not read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from localq.checkpoints.detect import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.fit.machines import sized
from localq.fit.report import fit
from localq.inspect.truth import read_truth
from localq.models.loader import load_model
from tests.factories import build, write_gguf
from tests.factories.every import config
from tests.models.folders import difference, packed_logits, write_random

Arrays = dict[str, np.ndarray]
KINDS = (
    *("gemma3", "gemma3n", "gemma4", "kimi_k25", "kimi_vl", "lfm2-vl", "llama4", "mistral3", "pixtral", "qwen2_vl"),
    *("qwen3_5", "qwen3_5_moe", "qwen3_vl", "qwen3_vl_moe"),
)
TOWER = "vision_tower.blocks.0.attn.qkv.weight"
TOWER_SCALES = "vision_tower.blocks.0.attn.qkv.weight_scale"  # of no packing there is


def newer(name: str) -> str:
    """The name that transformers 5 gives to what MLX calls `name`."""
    inside = name.replace("language_model.model.", "model.language_model.", 1)
    return inside.replace("language_model.lm_head.", "lm_head.", 1)


SPELLINGS: dict[str, Callable[[str], str]] = {"mlx": lambda name: name, "transformers 5": newer}


class Whole:
    """A text model of random weights as mlx-lm saves it, and what it answers."""

    def __init__(self, kind: str, folder: Path, packing: dict[str, Any] | None = None) -> None:
        saved = write_random(folder, config(kind), quantization=packing)
        self.config = json.loads((saved / "config.json").read_text())
        self.arrays: Arrays = {name: w for file in saved.glob("*.safetensors") for name, w in load_file(file).items()}
        self.right = logits(saved)

    def text(self, spelling: str) -> Arrays:
        return {SPELLINGS[spelling](name): w for name, w in self.arrays.items()}


def logits(folder: Path) -> np.ndarray:
    with open_checkpoint(folder) as checkpoint:
        return packed_logits(load_model(checkpoint, mx.float32)[0])


def write(folder: Path, arrays: Arrays, settings: dict[str, Any]) -> Path:
    folder.mkdir()
    save_file(arrays, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def with_tower(text: Arrays, spelling: str) -> Arrays:
    prefix = "model." if spelling == "transformers 5" else ""
    tower = {TOWER: np.zeros((8, 8), np.int8), TOWER_SCALES: np.full(3, np.nan, np.float16)}
    return {**text, **{prefix + name: w for name, w in tower.items()}}


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_part_answers_in_either_spelling(kind: str, tmp_path: Path) -> None:
    whole = Whole(kind, tmp_path / "saved")
    for spelling in SPELLINGS:
        folder = write(tmp_path / spelling, with_tower(whole.text(spelling), spelling), whole.config)
        with open_checkpoint(folder) as checkpoint:
            model, _ = load_model(checkpoint, mx.float32)
        assert sorted(model.report.unused) and all("hears" in why for why in model.report.unused.values())
        assert difference(packed_logits(model), whole.right) == 0.0


@pytest.mark.parametrize("kind", ["gemma3", "llama4", "mistral3", "qwen3_5", "qwen3_vl_moe"])
def test_packed_too(kind: str, tmp_path: Path) -> None:
    whole = Whole(kind, tmp_path / "saved", {"group_size": 32, "bits": 4})
    for spelling in SPELLINGS:
        settings = dict(whole.config)
        for key in ("quantization", "quantization_config"):  # modules with settings of their own are named, too
            settings[key] = {SPELLINGS[spelling](f"{name}.")[:-1]: found for name, found in settings[key].items()}
        folder = write(tmp_path / spelling, with_tower(whole.text(spelling), spelling), settings)
        assert difference(logits(folder), whole.right) == 0.0


def shards(folder: Path, arrays: Arrays, settings: dict[str, Any], gone: Callable[[str], bool]) -> Path:
    """Two files and their index; the one with the arrays that `gone` names is not there."""
    here = {name: w for name, w in arrays.items() if not gone(name)}
    write(folder, here, settings)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    places = {name: f"model-0000{1 + gone(name)}-of-00002.safetensors" for name in arrays}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def test_a_tower_that_is_not_on_the_disk_is_not_missed(tmp_path: Path) -> None:
    whole = Whole("gemma3", tmp_path / "saved")
    arrays = with_tower(whole.text("mlx"), "mlx")
    folder = shards(tmp_path / "a", arrays, whole.config, lambda name: name.startswith("vision_tower"))
    with open_checkpoint(folder) as checkpoint:
        assert set(checkpoint.unused) == {TOWER, TOWER_SCALES}
        assert "not on this disk" in checkpoint.unused[TOWER]
    assert difference(logits(folder), whole.right) == 0.0


@pytest.mark.parametrize("lost", ["vision_tower language_model.model.norm", "language_model.model.norm", "v l"])
def test_text_that_is_not_on_the_disk_is(lost: str, tmp_path: Path) -> None:
    whole = Whole("gemma3", tmp_path / "saved")
    arrays = with_tower(whole.text("mlx"), "mlx")
    folder = shards(tmp_path / "a", arrays, whole.config, lambda name: name.startswith(tuple(lost.split())))
    with pytest.raises(CheckpointError, match="missing: model-00002-of-00002"):
        open_checkpoint(folder)


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    whole = Whole("gemma3", tmp_path / "saved")
    arrays = {**whole.text("mlx"), "smell_tower.weight": np.ones((8, 8), np.float32)}
    with pytest.raises((CheckpointError, UnsupportedError), match="smell_tower"):
        logits(write(tmp_path / "a", arrays, whole.config))


def test_explain_and_fit_tell_the_tower_apart(tmp_path: Path) -> None:
    whole = Whole("qwen3_vl", tmp_path / "saved")
    text = whole.text("mlx")
    large = {"visual.blocks.0.attn.qkv.weight": np.zeros((512, 512), np.float32)}
    with open_checkpoint(write(tmp_path / "a", {**text, **large}, whole.config)) as checkpoint:
        found, truth = fit(checkpoint, sized("8GB"), 128), read_truth(checkpoint)
    weights = found.need.terms[0]
    assert weights.nbytes == sum(w.nbytes for w in text.values())
    assert f"{512 * 512 * 4} bytes that see or hear are not read" in weights.arithmetic
    assert truth.nbytes == weights.nbytes + 512 * 512 * 4 and list(truth.unused) == list(large)


def test_a_projector_beside_a_gguf_is_left_out_and_is_no_model(tmp_path: Path) -> None:
    import gguf

    write_gguf(build("llama"), tmp_path / "tiny-F32.gguf", "f32")
    writer = gguf.GGUFWriter(str(tmp_path / "mmproj-F16.gguf"), "clip")
    writer.add_tensor("v.patch_embd.weight", np.zeros((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.architecture == "llama" and "hears" in checkpoint.unused["mmproj-F16.gguf"]
        assert "mmproj-F16.gguf" in load_model(checkpoint, mx.float32)[0].report.unused
    with open_checkpoint(tmp_path / "mmproj-F16.gguf") as projector:
        with pytest.raises(UnsupportedError, match="none by itself"):
            load_model(projector, mx.float32)
