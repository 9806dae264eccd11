"""higgs: bits, group_size and hadamard_size for all modules; `tune_metadata` has an entry for each quantised one.

Source: transformers' HiggsConfig and quantizers/quantizer_higgs.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.errors import CheckpointError


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> the common settings, and `tuned`, how FLUTE packed this module."""
    tuned = config.get("tune_metadata") or {}
    if not isinstance(tuned, Mapping):
        raise CheckpointError(f"The config's tune_metadata is {type(tuned).__name__}; an object was expected.")
    common = {key: config.get(key) for key in ("quant_method", "bits", "group_size", "hadamard_size")}
    return lambda path: {**common, "tuned": tuned.get(path)}
