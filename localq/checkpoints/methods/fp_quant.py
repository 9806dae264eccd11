"""fp_quant: `forward_dtype` and `hadamard_group_size` for all modules but `modules_to_not_convert`.

Source: transformers/utils/quantization_config.py `FPQuantConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.exclusions import excluded
from localq.errors import UnsupportedError


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> forward_dtype, hadamard_group_size; None where the config leaves the module out."""
    for key in ("store_master_weights", "pseudoquantization"):
        if config.get(key) is True:
            raise UnsupportedError(
                f"FP-Quant's config has {key}: the weights are 16-bit floats, to be rotated and rounded at run time.",
                "Take a build with real quantisation, or the original model.",
            )
    keys = ("forward_dtype", "hadamard_group_size")
    common = {"quant_method": "fp_quant", **{key: config.get(key) for key in keys}}
    left_out = excluded(config)
    return lambda path: None if left_out(path) else common
