"""Granite 4 hybrid: time steps are not cut off unless the config says so; mlx-lm's default cuts at 0.001 and 100."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import granitemoehybrid

    @dataclass
    class ModelArgs(granitemoehybrid.ModelArgs):
        time_step_limit: tuple[float, float] = (0.0, float("inf"))

    return granitemoehybrid.Model, ModelArgs
