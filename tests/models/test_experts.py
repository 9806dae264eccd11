"""Experts stored one by one load in architectures whose own files have stacks of them; half a pile is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from localq.checkpoints.detect import open_checkpoint
from localq.errors import CheckpointError
from localq.models.loader import load_model
from tests.factories.every import config
from tests.models.folders import difference, packed_logits, write_random

STACK = re.compile(r"(.*)\.(?:switch_mlp|experts)\.(\w+)\.weight")
Arrays = dict[str, np.ndarray]


def logits(folder: Path) -> np.ndarray:
    with open_checkpoint(folder) as checkpoint:
        return packed_logits(load_model(checkpoint, mx.float32)[0])


def one_by_one(folder: Path, target: Path, change: Callable[[Arrays], None] = lambda arrays: None) -> Path:
    """The same model, every expert a matrix of its own."""
    arrays: Arrays = {}
    for file in folder.glob("*.safetensors"):
        for name, array in load_file(file).items():
            found = STACK.fullmatch(name)
            each = enumerate(array) if found and array.ndim == 3 else ()
            arrays |= (
                {f"{found[1]}.experts.{i}.{found[2]}.weight": w.copy() for i, w in each} if found else {name: array}
            )
    change(arrays)
    target.mkdir()
    save_file(arrays, target / "model.safetensors", {"format": "pt"})
    (target / "config.json").write_text((folder / "config.json").read_text())
    return target


@pytest.mark.parametrize("kind", ["llama4", "mistral4", "minimax_m3_vl", "qwen3_5_moe", "qwen3_vl_moe", "kimi_k25"])
def test_experts_one_by_one(kind: str, tmp_path: Path) -> None:
    folder = write_random(tmp_path / "stacks", config(kind))
    assert difference(logits(one_by_one(folder, tmp_path / "single")), logits(folder)) == 0.0


@pytest.mark.parametrize("damage", ["lost", "one too many", "of another height"])
def test_a_wrong_pile_is_named(damage: str, tmp_path: Path) -> None:
    folder = write_random(tmp_path / "stacks", config("qwen3_5_moe"))

    def change(arrays: Arrays) -> None:
        last = sorted(name for name in arrays if re.search(r"experts\.3\.up_proj", name))[0]
        if damage == "lost":
            del arrays[last]
        elif damage == "one too many":
            arrays[last.replace("experts.3.", "experts.4.")] = arrays[last].copy()
        else:
            arrays[last] = np.concatenate([arrays[last], arrays[last]])

    with pytest.raises(CheckpointError, match=r"switch_mlp\.up_proj.* missing.*experts\.\d\.up_proj.* unexpected"):
        logits(one_by_one(folder, tmp_path / "single", change))
