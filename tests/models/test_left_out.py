"""What a load leaves out is said: towers of multimodal checkpoints unread, blocks that predict further tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from localq.checkpoints.detect import open_checkpoint
from localq.checkpoints.safetensors import SafetensorsCheckpoint
from localq.checkpoints.towers import of_tower
from localq.models.loader import load_model
from tests.factories import TinyModel, dense_one, gemmas, llamas, more
from tests.models.folders import IDS, difference, packed_logits

CASES = {**dense_one.CASES, **gemmas.CASES, **llamas.CASES}


def nested(model: TinyModel, model_type: str) -> None:
    """The config as multimodal releases have it, the text part inside."""
    text = model.config
    model.config = {
        "model_type": model_type,
        "text_config": text,
        "vision_config": {},
        "vocab_size": text["vocab_size"],
    }


def gemma4(model: TinyModel) -> None:
    nested(model, "gemma4")
    model.weights = {name.replace("model.", "model.language_model.", 1): w for name, w in model.weights.items()}


def as_it_is(model: TinyModel) -> None:
    """Already a text part inside a larger model."""


RELEASES: dict[str, tuple[str, Callable[[TinyModel], None], str]] = {
    "gemma4-e2b": ("gemma4-e2b", gemma4, "model.vision_tower.encoder.layers.0.self_attn.q_proj.linear.weight"),
    "gemma3n": ("gemma3n", as_it_is, "model.audio_tower.conformer.0.norm.weight"),
    "llama4": ("llama4-scout", as_it_is, "vision_model.patch_embedding.linear.weight"),
}


@pytest.mark.parametrize("name", RELEASES)
def test_towers_are_left_out_unread_and_said(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case_name, wrap, tower = RELEASES[name]
    case = CASES[case_name]
    plain = more.make(case_name, case)
    with open_checkpoint(more.write_folder(plain, tmp_path / "text")) as text:
        right = _logits(load_model(text, mx.float32)[0])
    model = more.make(case_name, case)
    wrap(model)
    model.weights[tower] = np.ones((8, 8), np.float32)
    folder = more.write_folder(model, tmp_path / "whole")
    read = SafetensorsCheckpoint.__getitem__

    def watched(self: Any, key: str) -> Any:
        assert key != tower, "a vision weight was read"
        return read(self, key)

    monkeypatch.setattr(SafetensorsCheckpoint, "__getitem__", watched)
    with open_checkpoint(folder) as whole:
        loaded, _ = load_model(whole, mx.float32)
    assert list(loaded.report.unused) == [tower]
    assert any("text part" in line for line in loaded.report.lines())
    assert difference(_logits(loaded), right) < 1e-5


def _logits(model: Any) -> np.ndarray:
    from mlx_lm.models.cache import make_prompt_cache

    return np.array(model(mx.array([IDS]), cache=make_prompt_cache(model))[0])


def test_blocks_that_predict_further_tokens_are_said(tmp_path: Path) -> None:
    model = more.make("glm4moe", dense_one.CASES["glm4moe"])
    count = model.config["num_hidden_layers"]
    extra = f"model.layers.{count}.eh_proj.weight"
    folder = more.write_folder(model, tmp_path / "a")
    with open_checkpoint(folder) as checkpoint:
        right = packed_logits(load_model(checkpoint, mx.float32)[0])
    model.weights[extra] = np.ones((8, 16), np.float32)
    with open_checkpoint(more.write_folder(model, tmp_path / "b")) as checkpoint:
        loaded, _ = load_model(checkpoint, mx.float32)
    assert list(loaded.report.unused) == [extra] and "glm4_moe" in loaded.report.unused[extra]
    assert difference(packed_logits(loaded), right) == 0.0
    assert json.dumps(loaded.report.to_dict())


@pytest.mark.parametrize(
    "name",
    ["vision_language_adapter.w_in.weight", "pre_mm_projector_norm.weight", "model.mm_projector.0.weight",
     "vision_projection.linear_1.weight", "model.visual.blocks.0.attn.qkv.weight"],
)  # fmt: skip
def test_towers_are_known_by_their_published_names(name: str) -> None:
    assert of_tower(name)
    assert not of_tower(name.replace("model.", "").split(".", 1)[1])
