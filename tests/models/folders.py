"""Oracles for the loader: plain mlx-lm on the same folder in float32, and tiny random models it has no factory for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from localq.checkpoints.base import TensorSpec
from localq.formats import find

OURS = {"bitnet", "olmo"}  # a Metal kernel; a package that is not installed
IDS = [1, 5, 9, 33, 77, 101, 7, 200, 11, 14, 15, 16]


def plain_logits(folder: Path, ids: list[int] = IDS) -> np.ndarray:
    """mlx-lm's own logits of a folder, floats in float32 (packed scales too, which loses nothing)."""
    from mlx_lm.utils import load_model

    model, _ = load_model(folder)
    model.set_dtype(mx.float32)
    return np.array(model(mx.array([ids]))[0])


def packed_logits(model: Any, ids: list[int] = IDS) -> np.ndarray:
    return np.array(model(mx.array([ids]))[0].astype(mx.float32))


def difference(got: np.ndarray, want: np.ndarray) -> float:
    """Largest difference in units of the range of the wanted logits."""
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / np.ptp(want))


def write_random(
    folder: Path, config: dict[str, Any], seed: int = 0, quantization: dict[str, Any] | None = None
) -> Path:
    """A folder of mlx-lm's architecture with random weights, saved by mlx-lm under its own parameter names."""
    from mlx_lm.utils import _get_classes, quantize_model, save_config, save_model

    from localq.models import corrected

    mx.random.seed(seed)
    own = config["model_type"] in OURS  # mlx-lm's class cannot be built here
    model_class, args = (corrected.find(config["model_type"]) if own else None) or _get_classes(config)
    model = model_class(args.from_dict(config))
    model.update(_spread(model))
    folder.mkdir(parents=True, exist_ok=True)
    if quantization:
        model, config = quantize_model(model, config, **quantization)
    save_model(folder, model)
    save_config(config, folder / "config.json")
    return folder


def _spread(model: Any) -> dict[str, Any]:
    """Parameters that are not all ones and zeros: norms near one, biases small."""
    from mlx.utils import tree_unflatten

    out = []
    for name, value in tree_flatten(model.parameters()):
        if value.ndim < 2 or not mx.any(value).item():  # vectors, and routers that mlx-lm makes of zeros
            value = value + 0.1 * mx.random.normal(value.shape).astype(value.dtype)
        out.append((name, value))
    return tree_unflatten(out)


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def stay_packed(model: Any, specs: Mapping[str, TensorSpec]) -> int:
    """Bytes of the quantised matrices; each is held by a packed layer, once and whole: per format the same bytes."""
    stored: Counter[str] = Counter()
    for name, spec in specs.items():
        form = find(spec.format)
        if form is not None and form.family != "float" and name not in model.report.unused:
            stored[spec.format] += spec.nbytes
    held: Counter[str] = Counter()
    for row in model.report.rows:
        if row.format in stored:
            held[row.format] += row.nbytes
    assert held == stored
    return stored.total()
