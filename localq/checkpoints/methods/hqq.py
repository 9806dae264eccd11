"""hqq: the config of transformers' HqqConfig; every module also carries its own settings, and must agree with it.

`quant_config` holds `weight_quant_params` (nbits, group_size, axis) for all modules, or one such object per linear tag
("self_attn.q_proj", the end of a module's path). `skip_modules` stay unquantised; whether they are, the arrays say.
Source: transformers/utils/quantization_config.py (`HqqConfig`), quantizers/quantizer_hqq.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.errors import CheckpointError

_KEYS = ("nbits", "group_size", "axis")


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> nbits, group_size, axis as far as the config gives them."""
    found = config.get("quant_config") or {}
    if not isinstance(found, Mapping):
        raise CheckpointError(f"The config's quant_config is {type(found).__name__}; an object was expected.")
    whole = _params(found) if "weight_quant_params" in found else {}
    tags = {} if whole else {tag: _params(own) for tag, own in found.items() if isinstance(own, Mapping)}

    def answer(path: str) -> Mapping[str, Any] | None:
        own = next((params for tag, params in tags.items() if path.endswith(tag)), whole)
        return {"quant_method": "hqq", **own}

    return answer


def _params(found: Mapping[str, Any]) -> dict[str, Any]:
    params = found.get("weight_quant_params")
    if not isinstance(params, Mapping):
        raise CheckpointError("The config's quant_config has no object weight_quant_params, which was expected.")
    return {key: params[key] for key in _KEYS if params.get(key) is not None}
