"""Which stored arrays of a safetensors checkpoint belong together, and which format packs them.

A quantised matrix is several arrays: `q_proj.weight`, `q_proj.scales`, `q_proj.biases`. They are grouped by the names
that quantisers use; then exactly one `Format` must recognise the group. Nothing is ever taken for a default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from localq.errors import CheckpointError

if TYPE_CHECKING:
    from localq.formats.base import Format, Part

# An array of one of these names makes its prefix a quantised (or plain) matrix ...
_MAIN = {"weight", "qweight", "weight_packed", "W_q", "blocks", "trellis"}
# ... to which arrays of these names beside it belong.
_BESIDE = {
    *("scales", "biases", "global_scale", "qzeros", "g_idx"),  # MLX, AWQ, GPTQ
    *("weight_scale", "weight_scale_inv", "weight_scale_2", "weight_zero_point", "weight_shape", "weight_g_idx"),
    *("weight_global_scale", "input_scale", "input_global_scale", "input_zero_point"),  # FP8, compressed-tensors, NVFP4
    *("activation_scale", "activation_scale_inv", "qscale_weight", "qscale_act"),
    *("scale", "zero", "suh", "svh", "mcg", "mul1"),  # hqq, exl3
    *("SCB", "weight_format"),  # bitsandbytes int8
    *("weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map"),  # bitsandbytes nf4
    *("weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4"),
}


class Module(NamedTuple):
    """One tensor of a model: suffix -> stored name of each of its arrays."""

    name: str  # "model.layers.0.mlp.up_proj.weight"
    path: str  # "model.layers.0.mlp.up_proj", the key of per-module settings
    parts: dict[str, str]


def group(names: Iterable[str]) -> dict[str, Module]:
    """Stored names as modules; an array that belongs to no matrix is a module of its own, its one part `weight`.

    Raises:
        CheckpointError: two modules would have one name.
    """
    names = list(names)
    split = {name: _split(name) for name in names}
    mains = {stem for stem, suffix in split.values() if suffix in _MAIN}
    groups: dict[str, dict[str, str]] = {}
    modules: dict[str, Module] = {}
    for name in names:
        stem, suffix = split[name]
        if stem in mains and suffix:
            groups.setdefault(stem, {})[suffix] = name
        else:
            _add(modules, Module(name, name, {"weight": name}))
    for stem, parts in groups.items():
        path = stem[:-1]
        _add(modules, Module(path if stem.endswith("_") else f"{stem}weight", path, parts))
    return modules


def _add(modules: dict[str, Module], module: Module) -> None:
    if module.name in modules:
        raise CheckpointError(f"The tensor '{module.name}' is stored twice, in two packings.")
    modules[module.name] = module


def _split(name: str) -> tuple[str, str]:
    """Name -> stem (with its last character, `.` or `_`) and known suffix; an unknown suffix gives ("", "")."""
    for part in (name.rfind("."), name.find(".weight.")):
        suffix = name[part + 1 :]
        if suffix in _MAIN or suffix in _BESIDE:
            return name[: part + 1], suffix
    for suffix in ("blocks", "scales"):  # gpt-oss: gate_up_proj_blocks, gate_up_proj_scales
        if name.endswith(f"_{suffix}"):
            return name[: -len(suffix)], suffix
    return "", ""


def settings(quantization: Mapping[str, Any] | None, module: Module) -> Mapping[str, Any] | None:
    """What the config says for this very module.

    MLX's `quantization` holds settings for all modules and, under a module's path, settings that replace them (its
    loader hands them on as they are), True for the common ones or False for none (mlx_lm/utils.py, `load_model`).
    Any other method's settings are handed on whole. A lone array is packed by nothing, unless it is named itself.
    """
    if not quantization:
        return None
    own = quantization.get(module.path)
    if own is False:
        return None
    if isinstance(own, Mapping):
        return own
    if own is not True and len(module.parts) == 1 and "quant_method" not in quantization:
        return None
    if "quant_method" in quantization:
        return quantization
    return {key: value for key, value in quantization.items() if not isinstance(value, (dict, bool))}


def identify(
    module: Module, stored: Mapping[str, Part], quantization: Mapping[str, Any] | None
) -> tuple[type[Format], tuple[int, ...]] | None:
    """The one format that recognises these arrays and the logical shape, None where no format does.

    Raises:
        CheckpointError: several formats do, or one finds its own arrays contradicting.
    """
    from localq.formats import FORMATS

    hits = []
    for form in FORMATS.values():
        shape = form.match(quantization, stored)
        if shape is not None:
            hits.append((form, shape))
    if len(hits) > 1:
        names = ", ".join(form.name for form, _ in hits)
        raise CheckpointError(f"The tensor '{module.name}' could be any of {names}; localq does not guess.")
    return hits[0] if hits else None
