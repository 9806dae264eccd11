"""bitnet: `linear_class` says whether scales multiply or divide, `quantization_mode` whether weights are ternary yet.

    bitlinear (where nothing is said)   packed weights, divided by their scale
    autobitlinear, offline              packed weights, multiplied by it
    autobitlinear, online               float master weights of every linear layer, see formats/bitnet_online.py

`modules_to_not_convert` (lm_head where it is missing) and embeddings stay as they are.
Source: transformers/integrations/bitnet.py and utils/quantization_config.py (`BitNetQuantConfig`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.exclusions import excluded
from localq.errors import CheckpointError, UnsupportedError

_MODES = ("offline", "online")
_CLASSES = ("bitlinear", "autobitlinear")


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> `divides` for packed weights, `online` for float ones."""
    kind, mode = config.get("linear_class") or "bitlinear", config.get("quantization_mode") or "offline"
    if kind not in _CLASSES or mode not in _MODES:
        raise CheckpointError(
            f"The config's linear_class is {kind!r} and its quantization_mode {mode!r}; expected one of "
            f"{', '.join(_CLASSES)} and one of {', '.join(_MODES)}."
        )
    if config.get("use_rms_norm"):
        raise UnsupportedError(
            "The config's use_rms_norm puts a norm before every linear layer, which localq does not run.",
            "A BitNet without it (microsoft/bitnet-b1.58-2B-4T has norms of its own) or its GGUF can be run.",
        )
    online = mode == "online" and kind == "autobitlinear"
    left_out = excluded(config if config.get("modules_to_not_convert") else {"modules_to_not_convert": ["lm_head"]})

    def answer(path: str) -> Mapping[str, Any] | None:
        if left_out(path) or "embed" in path.rpartition(".")[2]:
            return None
        return {"quant_method": "bitnet", "divides": kind == "bitlinear", "online": online}

    return answer
