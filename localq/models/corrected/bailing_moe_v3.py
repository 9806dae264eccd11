"""Ling 3: a config that clamps the experts' activations is refused; mlx-lm drops the limits without a word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localq.errors import UnsupportedError

_LIMITS = ("expert_swiglu_limit_list", "share_expert_swiglu_limit_list")


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import bailing_moe_v3

    @dataclass
    class ModelArgs(bailing_moe_v3.ModelArgs):
        @classmethod
        def from_dict(cls, params: Mapping[str, Any]) -> Any:
            for key in _LIMITS:
                if any(params.get(key) or ()):
                    raise UnsupportedError(
                        f"The config clamps activations of experts ({key}); mlx-lm's Ling 3 does not."
                    )
            return super().from_dict(params)  # type: ignore[no-untyped-call]

    return bailing_moe_v3.Model, ModelArgs
