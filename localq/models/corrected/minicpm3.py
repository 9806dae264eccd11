"""MiniCPM3: logits are scaled also where the head is the embedding; LongRoPE has two lists (see minicpm.py)."""

from __future__ import annotations

from typing import Any

from localq.models.corrected.minicpm import scaled_head


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import minicpm3

    return scaled_head(minicpm3.Model), minicpm3.ModelArgs
