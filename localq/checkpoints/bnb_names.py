"""gptqmodel's names for bitsandbytes' 4-bit arrays: `weight_absmax` for `weight.absmax`, and so on.

The arrays are bitsandbytes' own, byte for byte; only `weight_quant_state` does not say in its name which code table it
is of. The config's `format` does, per module where a `dynamic` rule says so, and the JSON inside must agree.
Source: gptqmodel/nn_modules/qlinear/bitsandbytes.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.checkpoints.modules import Module
from localq.errors import CheckpointError

_STATE = "weight_quant_state"
_NAMES = {f"weight_{name}": f"weight.{name}" for name in ("absmax", "quant_map", "nested_absmax", "nested_quant_map")}


def spelled(modules: dict[str, Module], quantization: Mapping[str, Any] | None) -> dict[str, Module]:
    """The modules, those with gptqmodel's names under bitsandbytes'.

    Raises:
        CheckpointError: the config names no code table.
    """
    if not any(_STATE in module.parts for module in modules.values()):
        return modules
    from localq.checkpoints.methods.bitsandbytes import rules

    of_path = rules(quantization or {})
    found = dict(modules)
    for name, module in modules.items():
        if _STATE in module.parts:
            table = (of_path(module.path) or {}).get("format")
            if table not in ("nf4", "fp4"):
                raise CheckpointError(
                    f"{module.path} has a {_STATE}; the config's format is {table!r}, not nf4 or fp4."
                )
            names = {**_NAMES, _STATE: f"weight.quant_state.bitsandbytes__{table}"}
            parts = {names.get(part, part): stored for part, stored in module.parts.items()}
            found[name] = module._replace(parts=parts)
    return found
