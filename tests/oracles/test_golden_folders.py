"""Folders that transformers wrote, in its own names and spelling of configs, give transformers' logits."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.inspect.architectures import describe_architectures
from localq.models.loader import load_model
from tests.oracles.golden_folders import IDS, STEP, cases, write

CASES = cases()
BOUND = 1e-5  # of the logits' range; seen: 4.5e-6 for two of MLA, below 2e-6 for all others
PARTS = {"gemma4_text", "llama4_text"}  # told of as the models whose parts they are
WIDE = {
    "gemma3_text": 1e-4,  # mlx-lm rounds the factor of its embedding to bfloat16, as the published weights are
    "gpt_oss": 1e-3,  # mlx-lm and llama.cpp round YaRN's range to whole frequencies whatever `truncate` says
}


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    with open_checkpoint(write(tmp_path / "m", case["config"], case["arrays"])) as checkpoint:
        model, _ = load_model(checkpoint, mx.float32)
    found = np.array(model(mx.array([IDS]))[0, -1])[::STEP]
    assert np.abs(found - case["logits"]).max() < WIDE.get(name, BOUND) * case["range"]


def test_what_is_said_to_be_checked_is() -> None:
    told = {one.model_type for one in describe_architectures() if "transformers" in one.checked.get("safetensors", "")}
    assert told == set(CASES) - PARTS and len(told) >= 55
