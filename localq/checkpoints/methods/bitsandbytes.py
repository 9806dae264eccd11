"""bitsandbytes: what is quantised, and how, is written in the tensors; the config's flags may only agree with them.

`llm_int8_skip_modules` names modules that stay unquantised. gptqmodel's config says `bits` and `format` (nf4, fp4,
int8), which its `dynamic` rules (see gptq.py) replace per module.
Sources: transformers' BitsAndBytesConfig; gptqmodel/quantization/config.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.methods import gptq
from localq.errors import CheckpointError

_FOUR = ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant")


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> the flags. Skipped modules are not asked for: a float weight is plain, a packed one says so."""
    four, eight = (config.get(f"load_in_{n}bit", config.get(f"_load_in_{n}bit")) for n in (4, 8))
    if four is True and eight is True:
        raise CheckpointError("The config asks bitsandbytes for load_in_4bit and load_in_8bit; one was expected.")
    common = {"quant_method": "bitsandbytes", "load_in_4bit": four, "load_in_8bit": eight}
    if four is True:  # written with their defaults beside 8-bit weights
        common |= {key: config[key] for key in _FOUR if key in config}
    if "format" not in config:
        return lambda path: common
    dynamic = gptq.read_dynamic(config, ("bits", "format"))
    own = {**common, "bits": config.get("bits"), "format": config["format"]}
    return lambda path: next(
        (None if new is None else {**own, **new} for rule, new in dynamic if rule.match(path)), own
    )
