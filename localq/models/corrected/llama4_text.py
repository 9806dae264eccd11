"""Llama 4's text part: a tied head is the embedding as it is stored (see _tied.py)."""

from __future__ import annotations

from typing import Any

from localq.models.corrected._tied import tied_head


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import llama4_text

    return tied_head(llama4_text.Model), llama4_text.ModelArgs
