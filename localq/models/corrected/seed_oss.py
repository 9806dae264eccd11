"""Seed-OSS: a tied head is the embedding as it is stored (see _tied.py)."""

from __future__ import annotations

from typing import Any

from localq.models.corrected._tied import tied_head


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import seed_oss

    return tied_head(seed_oss.Model), seed_oss.ModelArgs
