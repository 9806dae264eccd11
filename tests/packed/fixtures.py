"""Fixtures of peers' packers: one linear layer each, opened as a checkpoint and compared with the peer's decode."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from localq.checkpoints import open_checkpoint
from localq.formats.base import PackedTensor

DATA = Path(__file__).parent / "data"
NAME = "model.layers.0.mlp.up_proj"


class Variant(NamedTuple):
    """What a generator in tools/fixtures wrote for one variant."""

    parts: dict[str, np.ndarray]
    config: dict[str, Any]
    sha256: str  # of the decoded float32 weights [out, in], zeros positive
    shape: tuple[int, ...]
    rows: np.ndarray  # the first and the last row of them


@cache
def variants(file: str) -> dict[str, Variant]:
    """Every variant of one fixture file."""
    with safe_open(DATA / file, "np") as stored:
        notes = {name: json.loads(text) for name, text in (stored.metadata() or {}).items()}
        found: dict[str, dict[str, np.ndarray]] = {name: {} for name in notes}
        for key in stored.keys():
            name, part = key.split(".", 1)
            found[name][part] = stored.get_tensor(key)
    return {
        name: Variant(
            parts, notes[name]["config"], notes[name]["sha256"], tuple(notes[name]["shape"]), parts.pop("rows")
        )
        for name, parts in found.items()
    }


def write(folder: Path, parts: dict[str, np.ndarray], config: dict[str, Any] | None, name: str = NAME) -> Path:
    """A folder with this one module, as a quantiser would leave it."""
    save_file({f"{name}.{part}": array for part, array in parts.items()}, folder / "model.safetensors")
    whole = {"model_type": "llama"} | ({} if config is None else {"quantization_config": config})
    (folder / "config.json").write_text(json.dumps(whole))
    return folder


def read(folder: Path, parts: dict[str, np.ndarray], config: dict[str, Any] | None) -> PackedTensor:
    """This module read back by localq."""
    with open_checkpoint(write(folder, parts, config)) as checkpoint:
        assert checkpoint.unsupported is None, checkpoint.unsupported
        return checkpoint[f"{NAME}.weight"]


def digest(weights: np.ndarray) -> str:
    """SHA-256 as in the fixtures."""
    return hashlib.sha256((np.ascontiguousarray(weights, "<f4") + np.float32(0)).tobytes()).hexdigest()


def assert_same(t: PackedTensor, variant: Variant) -> None:
    """Shape and every bit of the decoded weights are the peer's."""
    weights = t.dequantize()
    assert t.shape == weights.shape == variant.shape and weights.dtype == np.float32
    np.testing.assert_array_equal(weights[[0, -1]], variant.rows)
    assert digest(weights) == variant.sha256
