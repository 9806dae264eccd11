"""vptq: `config_for_layers` has an entry for every quantised module, by its path; others are not quantised.

`shared_layer_config` is not read: no published writer fills it, and what it would mean hangs on a name's second
component. Source: transformers' VptqConfig and integrations/vptq.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.errors import CheckpointError, UnsupportedError


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> its lengths, as formats/vptq.py reads them."""
    layers = config.get("config_for_layers")
    if config.get("shared_layer_config"):
        raise UnsupportedError("The config's shared_layer_config is not understood; config_for_layers was expected.")
    if not isinstance(layers, Mapping) or not all(isinstance(own, Mapping) for own in layers.values()):
        raise CheckpointError("The config's config_for_layers is no object of objects, which was expected.")

    def answer(path: str) -> Mapping[str, Any] | None:
        own = layers.get(path)
        return None if own is None else {**own, "quant_method": "vptq"}

    return answer
