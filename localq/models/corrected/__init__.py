"""Architectures in which mlx-lm 0.32 computes something other than the models' authors: one file each.

A file is named after the `model_type` and defines `classes() -> (Model, ModelArgs)`: mlx-lm's own classes, subclassed
where they differ. Each says what was wrong; tests/oracles compares every architecture with llama.cpp and transformers,
so a file is gone again when mlx-lm needs it no more.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any


def find(model_type: str) -> tuple[Any, Any] | None:
    """Model and ModelArgs of a corrected architecture, None where mlx-lm's own are right."""
    name = f"{__name__}.{model_type}"
    if not model_type.isidentifier() or importlib.util.find_spec(name) is None:
        return None
    classes: tuple[Any, Any] = importlib.import_module(name).classes()
    return classes
