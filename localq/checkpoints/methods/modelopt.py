"""modelopt: NVIDIA's Model Optimizer; in config.json, or in hf_quant_config.json alone.

`quant_algo` names the scheme of all modules, `quantized_layers` that of each where they differ (MIXED_PRECISION);
`ignore` (config.json) or `exclude_modules` (hf_quant_config.json) are names with `*`. The arrays of a module say which
of ModelOpt's layouts it has; the config says block and group sizes. `kv_cache_quant_algo` is about the cache, which
localq keeps as it is told to. Source: modelopt/torch/export/convert_hf_config.py, layer_utils.py.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from typing import Any

from localq.errors import CheckpointError, UnsupportedError

_BLOCKS = ("FP8_PB_WO", "FP8_PB_REAL", "FP8_BLOCK")
_KNOWN = (
    *("NVFP4", "W4A16_NVFP4", "NVFP4_AWQ", "FP8", "FP8_PER_CHANNEL_PER_TOKEN", "MXFP8", "MXFP4"),
    *("W4A16_AWQ", "INT4_AWQ", "INT4", *_BLOCKS),
)


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> settings of the formats: group_size, weight_block_size; None where a module is excluded."""
    nested = config.get("quantization")
    inner = nested if isinstance(nested, Mapping) else config
    layers = inner.get("quantized_layers") or {}
    if not isinstance(layers, Mapping):
        raise CheckpointError(f"The config's quantized_layers is {type(layers).__name__}; an object was expected.")
    left_out = _names(inner.get("ignore") or inner.get("exclude_modules") or [])
    if not layers:
        _settings(inner)  # an unknown scheme is said when the checkpoint is opened

    def answer(path: str) -> Mapping[str, Any] | None:
        if any(fnmatch.fnmatchcase(path, name) for name in left_out):
            return None
        own = layers.get(path)
        if layers and own is None:
            return None
        return _settings({**inner, **own} if isinstance(own, Mapping) else inner)

    return answer


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    algo = str(given.get("quant_algo") or "").upper()
    if algo not in _KNOWN:
        raise UnsupportedError(
            f"ModelOpt's quant_algo is {given.get('quant_algo')!r}; localq knows {', '.join(_KNOWN)}."
        )
    settings: dict[str, Any] = {"quant_method": "modelopt", "quant_algo": algo}
    if algo in _BLOCKS:
        settings["weight_block_size"] = [128, 128]
    elif "INT4" in algo or algo == "W4A16_AWQ":
        settings["group_size"] = given.get("group_size")
    else:
        settings["block_size"] = given.get("group_size")
    return settings | _group(given)


def _group(given: Mapping[str, Any]) -> dict[str, Any]:
    """What `config_groups` says of weights, where it is one group: the same again, in compressed-tensors' words."""
    groups = given.get("config_groups")
    if not isinstance(groups, Mapping) or len(groups) != 1 or given.get("quantized_layers"):
        return {}
    (group,) = groups.values()
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(weights, Mapping):
        return {}
    return {key: weights[key] for key in ("num_bits", "type", "group_size") if weights.get(key) is not None}


def _names(found: Any) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise CheckpointError(f"The config's excluded modules are {found!r}; a list of names was expected.")
    return found
