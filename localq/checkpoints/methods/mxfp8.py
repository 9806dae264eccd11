"""mxfp8: as "fp8" with a power of two per row and 32 inputs, `weight_scale_inv` in bytes of E8M0.

Source: transformers/quantizers/auto.py, quantizer_finegrained_fp8.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.methods import fp8


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> settings of formats/fp8.py; blocks of 32 are what the name means where the config says nothing."""
    return fp8.rules({"weight_block_size": [1, 32], **config})
