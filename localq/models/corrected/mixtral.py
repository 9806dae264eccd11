"""Mixtral: rope scaling (YaRN for longer contexts), which mlx-lm drops."""

from __future__ import annotations

from typing import Any

from localq.models.corrected._scaled import with_scaling


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import mixtral

    return with_scaling(mixtral)
