"""quark: AMD Quark's own export (`custom_mode` "quark"), as config.json keeps it.

`global_quant_config` is for all modules, `layer_type_quant_config` for those of a class (`Linear`),
`layer_quant_config` for those whose names match a pattern with `*` (the first that does), `exclude` takes modules out
again. In each, `weight` is a scheme: `dtype`, `qscheme` (per_tensor, per_channel, per_group, per_block), `group_size`,
`block_size`, `scale_format`; or a list of two, where the second one is of the first one's scales (`is_scale_quant`:
NVFP4) or of its codes (4-bit integers of 8-bit floats). What is said of activations, outputs and the cache is not
applied. `pack_method` "reorder" is AWQ's order of 4-bit codes. Rotations that are done to activations are refused;
those in the weights (R1, R2) need nothing, and R3 turns queries and keys alike.
Source: quark/torch/export (api.py, main_export/quant_config_parser.py), quantization/config/config.py, utils/pack.py.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from typing import Any

from localq.errors import CheckpointError, UnsupportedError

_FLOATS = ("bfloat16", "float16")  # weights of these dtypes are not quantised
_ROTATIONS = ("online_r1_rotation", "r4")
_OTHER = "Get the model in another packing (GGUF, MLX, AWQ, GPTQ), or quantise the original."


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> dtype, qscheme, group_size, weight_block_size, pack_method, codes_of; None: not quantised."""
    export = _object(config.get("export"), "export")
    if export.get("weight_format", "real_quantized") != "real_quantized":
        raise UnsupportedError(
            f"Quark's weight_format is {export['weight_format']!r}: floats and the scales of quantisers; "
            "'real_quantized' was expected.",
            _OTHER,
        )
    _refuse_rotations(config.get("algo_config"))
    common = {"quant_method": "quark", "pack_method": str(export.get("pack_method", "reorder"))}
    classes = _object(config.get("layer_type_quant_config"), "layer_type_quant_config")
    whole = _scheme(config.get("global_quant_config"), "global_quant_config")
    linear = _scheme(classes["Linear"], "layer_type_quant_config.Linear") if "Linear" in classes else whole
    layers = _object(config.get("layer_quant_config"), "layer_quant_config")
    named = [(str(name), _scheme(own, f"layer_quant_config.{name}")) for name, own in layers.items()]
    left_out = config.get("exclude") or []
    if not isinstance(left_out, list) or not all(isinstance(name, str) for name in left_out):
        raise CheckpointError(f"The config's exclude is {left_out!r}; a list of names was expected.")

    def answer(path: str) -> Mapping[str, Any] | None:
        if any(fnmatch.fnmatchcase(path, name) for name in left_out):
            return None
        found = next((scheme for name, scheme in named if fnmatch.fnmatchcase(path, name)), linear)
        return None if found is None else {**common, **found}

    return answer


def _object(found: Any, key: str) -> Mapping[str, Any]:
    if found is not None and not isinstance(found, Mapping):
        raise CheckpointError(f"The config's {key} is {type(found).__name__}; an object was expected.")
    return found or {}


def _scheme(layer: Any, key: str) -> dict[str, Any] | None:
    """What is said of a layer's weight, in the words of the formats; None where it stays a float."""
    if _object(layer, key).get("bias"):
        raise UnsupportedError(f"Quark's {key} quantises biases, which localq does not read.", _OTHER)
    weight = _object(layer, key).get("weight")
    stages = [_object(stage, key) for stage in (weight if isinstance(weight, list) else [weight])]
    kinds = [str(stage.get("dtype", "")).lower() for stage in stages]
    if weight is None or kinds[0] in _FLOATS:
        return None
    if len(stages) == 1:
        return _one(stages[0], kinds[0], key)
    schemes = [stage.get("qscheme") for stage in stages]
    nvidia = kinds == ["fp4", "fp8_e4m3"] and schemes == ["per_group", "per_tensor"]
    if nvidia and stages[1].get("is_scale_quant") is True:
        own = {key: stages[0].get(key) for key in ("group_size", "symmetric")}
        return {"dtype": "nvfp4", "qscheme": "per_group", **own}
    if len(stages) == 2 and kinds[0] == "fp8_e4m3" and kinds[1] in ("int4", "uint4") and schemes[0] == "per_tensor":
        return {**_one(stages[1], kinds[1], key), "codes_of": "fp8_e4m3"}
    raise UnsupportedError(f"Quark's {key} quantises weights as {' and '.join(kinds)}, which localq does not know.")


def _one(stage: Mapping[str, Any], dtype: str, key: str) -> dict[str, Any]:
    scheme, form = stage.get("qscheme"), stage.get("scale_format")
    known = {
        **dict.fromkeys(("fp8_e4m3", "fp8_e5m2"), ("per_tensor", "per_channel", "per_block")),
        **dict.fromkeys(("int8", "uint8", "int4", "uint4"), ("per_tensor", "per_channel", "per_group")),
        **dict.fromkeys(("fp4", "fp6_e2m3", "fp6_e3m2"), ("per_group",)),
    }
    powers = dtype.startswith(("fp4", "fp6"))
    if scheme not in known.get(dtype, ()) or powers != (form == "e8m0") or (powers and stage.get("group_size") != 32):
        raise UnsupportedError(
            f"Quark's {key} quantises weights as {dtype} {scheme} with scales {form or 'of floats'}, groups of "
            f"{stage.get('group_size')}; localq knows {', '.join(known)}, of the last three MX's (e8m0, 32).",
            _OTHER,
        )
    if scheme == "per_channel" and stage.get("ch_axis") != 0:
        raise UnsupportedError(f"Quark's {key} has scales along axis {stage.get('ch_axis')}; 0 was expected.", _OTHER)
    settings = {"dtype": dtype, "qscheme": scheme, **{key: stage.get(key) for key in ("group_size", "symmetric")}}
    return settings | ({"weight_block_size": stage.get("block_size")} if scheme == "per_block" else {})


def _refuse_rotations(algorithms: Any) -> None:
    for found in algorithms if isinstance(algorithms, list) else []:
        turned = [key for key in _ROTATIONS if isinstance(found, Mapping) and found.get(key) is True]
        if turned:
            raise UnsupportedError(
                f"Quark's algo_config rotates activations at run time ({', '.join(turned)}); localq does not.", _OTHER
            )
