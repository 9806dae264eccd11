"""fbgemm_fp8: one scale per output (Llama-3.1-405B-FP8); `activation_scale_ub` concerns activations, which stay float.

Source: transformers/integrations/fbgemm_fp8.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.exclusions import excluded


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> settings of formats/fp8.py, None where the config leaves the module out."""
    left_out = excluded(config)
    return lambda path: None if left_out(path) else {"quant_method": "fbgemm_fp8"}
