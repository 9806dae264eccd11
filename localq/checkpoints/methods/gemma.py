"""gemma: Google's quantisation-aware checkpoints for phones; `num_bits` for all modules, patterns for others.

`module_quant_configs` maps regular expressions to settings of their own (num_bits); the first that is found anywhere in
a module's name is taken. `modules_to_not_convert` and `quantize_embeddings` say what is packed; so do the arrays.
Source: transformers/utils/quantization_config.py (`GemmaQuantizationConfig`), integrations/gemma_quant.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.patterns import Pattern
from localq.errors import CheckpointError


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> num_bits."""
    own = config.get("module_quant_configs") or {}
    if not isinstance(own, Mapping) or not all(isinstance(found, Mapping) for found in own.values()):
        raise CheckpointError("The config's module_quant_configs is no object of objects, which was expected.")
    patterns = [(Pattern(text), found.get("num_bits")) for text, found in own.items()]
    usual = config.get("num_bits", 4)

    def answer(path: str) -> Mapping[str, Any] | None:
        bits = next((bits for pattern, bits in patterns if pattern.search(path)), None)
        return {"quant_method": "gemma", "num_bits": usual if bits is None else bits}

    return answer
