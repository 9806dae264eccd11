"""What a checkpoint's config says about one module: one file per `quant_method`, and the folder is the registry.

A file NAME.py (`-` of the method spelt `_`) has one function::

    def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]

It reads the config once, and raises there what is wrong with it; what it returns answers for a module's path with
flat settings (group, target and override rules resolved, `quant_method` among them: AutoRound answers in GPTQ's
words), or with None where the config says that the module is not quantised. Formats read those settings. The
settings of a method without a file are handed on whole. No numpy, and no regular expression of a config is run by
`re`: see `localq.checkpoints.patterns`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.modules import Module, settings
from localq.errors import CheckpointError

Rules = Callable[[Module], "Mapping[str, Any] | None"]


def find_rules(quantization: Mapping[str, Any] | None) -> Rules:
    """Module -> settings, for the config of a checkpoint: of a known method, of an unknown one, of MLX, or none.

    Raises:
        CheckpointError: the config contradicts itself.
        UnsupportedError: it says something localq does not understand.
    """
    method = (quantization or {}).get("quant_method")
    if quantization is None or method is None:
        return lambda module: settings(quantization, module)
    if not isinstance(method, str):
        raise CheckpointError(f"The config's quant_method is {method!r}; a name was expected.")
    name = method.rpartition("/")[2].partition(":")[0].replace("-", "_")  # "intel/auto-round", "auto_round:fp8"
    if name not in {found.name for found in pkgutil.iter_modules(__path__)}:
        return lambda module: quantization
    of_path = importlib.import_module(f"{__name__}.{name}").rules(quantization)
    return lambda module: of_path(module.path)
