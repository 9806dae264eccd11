"""quip: the `quip_params` of QuIP#'s config.json, the same for every module, and which rows of a fused matrix it is.

Which modules are quantised is said by no config, but by what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.quip_names import SIZES, piece_of
from localq.errors import UnsupportedError


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> quip_params and `piece`.

    Raises:
        UnsupportedError: a `quantization_config` names the method; its arrays are not those of the original.
    """
    if SIZES not in config:
        raise UnsupportedError(
            "The config's quant_method 'quip' is another program's than QuIP#'s own, which has `quip_params` instead.",
            "Get the model as its authors publish it, or in another packing (GGUF, MLX, AWQ, GPTQ).",
        )
    common = {key: value for key, value in config.items() if key != SIZES}
    return lambda path: {**common, "piece": piece_of(path, config[SIZES])}
