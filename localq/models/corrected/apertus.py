"""Apertus from GGUF: the activation's four numbers per layer come in the config, not as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs; `xielu` holds a list per number."""
    from mlx_lm.models import apertus

    @dataclass
    class ModelArgs(apertus.ModelArgs):
        xielu: dict[str, list[float]] | None = None

    class Model(apertus.Model):
        args: ModelArgs

        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            for number, values in (self.args.xielu or {}).items():
                for i, value in enumerate(values):
                    weights.setdefault(f"model.layers.{i}.mlp.act_fn.{number}", mx.array(value))
            out: dict[str, mx.array] = super().sanitize(weights)  # type: ignore[no-untyped-call]
            return out

    return Model, ModelArgs
