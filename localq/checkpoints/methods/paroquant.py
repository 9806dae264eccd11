"""paroquant: `bits`, `group_size` and `krot` for all modules; `modules_to_not_convert` names those left as they are.

Source: z-lab/paroquant paroquant/inference/backends/transformers/quantizer.py; gptqmodel/quantization/config.py
(`ParoConfig`), whose `dynamic` rules are as for gptq.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.exclusions import excluded
from localq.checkpoints.methods.gptq import read_dynamic

_KEYS = ("bits", "group_size", "krot")


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> bits, group_size, krot; None where a rule excludes the module."""
    common = {"quant_method": "paroquant", **{key: config[key] for key in _KEYS if key in config}}
    dynamic, left_out = read_dynamic(config, _KEYS), excluded(config)

    def answer(path: str) -> Mapping[str, Any] | None:
        if left_out(path):
            return None
        own = next((own for pattern, own in dynamic if pattern.match(path)), {})
        return None if own is None else {**common, **own}

    return answer
