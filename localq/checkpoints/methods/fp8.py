"""fp8: DeepSeek's, Qwen's and transformers' 8-bit float checkpoints.

`weight_block_size` ([128, 128] or null), `modules_to_not_convert` (MiniMax: `ignored_layers`); which module is packed,
its arrays say: quantisers leave matrices out whose sides do not divide. `scale_fmt` "ue8m0" means scales that are
powers of two, some stored as bytes. DeepSeek's experts may be 4 bits (`expert_dtype`), see formats/mxfp4_int8.py.
gptqmodel's scales divide (`weight_scale_semantics`, beside a `weight_scale_method`), see formats/fp8_inverse.py.
Source: transformers/utils/quantization_config.py `FineGrainedFP8Config`; gptqmodel/quantization/config.py `FP8Config`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.exclusions import excluded


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> settings of formats/fp8.py, None where the config leaves the module out."""
    keys = ("weight_block_size", "scale_fmt", "expert_dtype")
    common = {"quant_method": "fp8", **{key: config.get(key) for key in keys}}
    common |= {key: config[key] for key in ("bits", "group_size", "data_type") if key in config}
    if "weight_scale_method" in config or "weight_scale_semantics" in config:
        common["weight_scale_semantics"] = config.get("weight_scale_semantics", "unsaid")
    other = "ignored_layers" if config.get("modules_to_not_convert") is None else "modules_to_not_convert"
    left_out = excluded(config, other)
    return lambda path: None if left_out(path) else common
