"""RecurrentGemma: mlx-lm's model does not start as a module (no `Module.__init__`), so it cannot be frozen."""

from __future__ import annotations

from typing import Any

from mlx.nn.layers.base import Module


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import recurrent_gemma

    class Model(recurrent_gemma.Model):
        def __init__(self, args: Any) -> None:
            Module.__init__(self)
            super().__init__(args)  # type: ignore[no-untyped-call]  # mlx-lm leaves its classes untyped

    return Model, recurrent_gemma.ModelArgs
