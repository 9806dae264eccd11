"""Which stored arrays of a safetensors checkpoint belong together, and which format packs them.

A quantised matrix is several arrays: `q_proj.qweight`, `q_proj.scales`, `q_proj.qzeros`. Formats say by which names
they store theirs; arrays are grouped by those names, and exactly one format must then recognise the group, by what
is stored and by what the config says for this very module. Nothing is ever taken for a default.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from localq.checkpoints.agreement import check_scheme
from localq.errors import CheckpointError

if TYPE_CHECKING:
    from localq.formats.base import Format, Match, Part

# Scales of activations and of the KV cache. localq computes with float activations and has KV formats of its own, so
# it reads no such scale: arrays of these names beside a matrix, or alone, are told as unused.
UNUSED = {
    *("input_scale", "input_global_scale", "input_zero_point", "output_scale", "act_global_scale"),
    *("activation_scale", "activation_scale_inv", "qscale_act", "output_zero_point"),
    *("input_scale_2", "input_zero_point_2", "output_scale_2", "output_zero_point_2"),  # of Quark's two-stage schemes
    *("k_scale", "v_scale", "q_scale", "kv_scale", "k_zero_point", "v_zero_point", "prob_scale"),
    *("k_cache_scale", "v_cache_scale"),
    *("k_proj.k_scale", "v_proj.v_scale", "k_proj.output_scale", "v_proj.output_scale"),
}
# Stacked experts without a `.weight`: `experts.gate_up_proj_blocks`, or `experts.gate_up_proj` and its `..._scale_inv`.
_FUSED = {
    **{"blocks": "blocks", "scales": "scales", "qweight": "qweight", "qzeros": "qzeros"},
    **{"packed": "weight_packed", "scale": "weight_scale", "scale_inv": "weight_scale_inv"},
    **{"weight_scale": "weight_scale", "weight_scale_inv": "weight_scale_inv", "weight_scale_2": "weight_scale_2"},
    **{"input_scale": "input_scale", "global_scale": "weight_global_scale", "zero_point": "weight_zero_point"},
}
# Of packings localq tells from each other but does not read (gptqmodel's names for bitsandbytes' arrays it does, see
# bnb_names.py), so that it can say what it found.
_OTHER_MAINS = {"q_weight", "trellis", "codes", "weight._data._data"}
_OTHERS = {
    *("q_invperm", "q_perm", "q_scale_max", "q_groups", "q_group_map"),  # EXL2
    *("tlut", "rcp", "tp_rank"),  # QTIP
    *("weight_absmax", "weight_quant_map", "weight_nested_absmax", "weight_nested_quant_map", "weight_quant_state"),
    *("suh", "svh", "mcg", "mul1", "codebooks", "weight_scales", "workspace", "qscale_weight"),
}


# Arrays that stand beside a packed matrix and nowhere else: alone, they say that the matrix was lost.
_BESIDE = {
    *("qzeros", "scaled_zeros", "weight_scale_inv", "weight_scale_2", "weight_global_scale", "weight_zero_point"),
    *("weight_g_idx", "weight_packed_shape", "SCB", "weight.absmax", "weight.quant_map", "weight.nested_absmax"),
    *("weight.quant_state.bitsandbytes__nf4", "weight.quant_state.bitsandbytes__fp4", "weight._scale", "weight._shift"),
    *("_weight_scale", "_weight_zero_point", "centroids.weight", "g_idx", "scales", "weight_scale", "weight_shape"),
    *("codebooks", "suh", "svh", "codebook_id", "Wscale", "row_offsets", "col_vals"),
    *("unpack_view_dtype", "nbits", "packing", "embedding_scale", "bitmask", "norms", "seed", "su", "sv", "tables2"),
    *("weight_absmax", "weight_quant_map", "weight_nested_absmax", "weight_quant_state", "weight_scb"),
}


class Module(NamedTuple):
    """One tensor of a model: suffix -> stored name of each of its arrays."""

    name: str  # "model.layers.0.mlp.up_proj.weight"
    path: str  # "model.layers.0.mlp.up_proj", the key of per-module settings
    parts: dict[str, str]


class Names(NamedTuple):
    """The array names of all formats."""

    mains: set[str]
    beside: set[str]


def known_names() -> Names:
    """Names by which the registered formats store their arrays."""
    from localq.formats.index import all_names

    mains, beside = all_names()
    return Names(mains | _OTHER_MAINS, beside | UNUSED | _OTHER_MAINS | _OTHERS)


def group(names: Iterable[str]) -> dict[str, Module]:
    """Stored names as modules; an array that belongs to no matrix is a module of its own, its one part `weight`.

    Raises:
        CheckpointError: two modules would have one name.
    """
    stored = dict.fromkeys(names)
    known = known_names()
    mains = {stem for name in stored for stem, suffix in _cuts(name) if _main(stem, suffix, stored, known)}
    groups: dict[str, dict[str, str]] = {}
    modules: dict[str, Module] = {}
    for name in stored:  # cut twice: the pieces of all names would take more memory than everything else here
        place = next(((s, x) for s, x in _cuts(name) if x in known.beside and s in mains), None) or _fused(name, stored)
        if place is None:
            _add(modules, Module(name, name, {"weight": name}))
        else:
            groups.setdefault(place[0], {})[sys.intern(place[1])] = name
    for stem, parts in groups.items():
        bare = stem.endswith("_") or stem in stored
        path = stem[:-1] if stem.endswith(("_", ".")) else stem
        _add(modules, Module(path if bare else f"{stem}weight", path, parts))
    return modules


def lost_matrix(modules: Mapping[str, Module]) -> str | None:
    """A sentence about an array that belongs to a packed matrix which is not stored, if there is one."""
    for name, module in modules.items():
        if set(module.parts) == {"weight"}:
            stem = next((stem for stem, suffix in _cuts(name) if stem and suffix in _BESIDE), None)
            if stem is None:  # of stacked experts: "experts.gate_up_proj_scales"
                stem = next((name.removesuffix(end) for end in _FUSED if name.endswith(f"_proj_{end}")), None)
            if stem is not None:
                return (
                    f"'{name}' belongs to the tensor '{stem}weight', of which the array with its weights is not stored."
                )
    return None


def _main(stem: str, suffix: str, stored: Collection[str], known: Names) -> bool:
    """Whether an array of this name is a matrix's main one; PLaMo 2 has a vector `q_weight` that is not exl2's."""
    return suffix in known.mains and (suffix != "q_weight" or f"{stem}q_scale_max" in stored)


def _add(modules: dict[str, Module], module: Module) -> None:
    if module.name in modules:
        raise CheckpointError(f"The tensor '{module.name}' is stored twice, in two packings.")
    modules[module.name] = module


def _cuts(name: str) -> list[tuple[str, str]]:
    """`a.b.c.d` as prefix (with its dot) and last 3, 2 and 1 components: the longest known suffix is the right one."""
    steps = name.split(".")
    return [
        (".".join(steps[:-k]) + ("." if len(steps) > k else ""), ".".join(steps[-k:]))
        for k in (3, 2, 1)
        if len(steps) >= k
    ]


def _fused(name: str, stored: Collection[str]) -> tuple[str, str] | None:
    """Stem and part of an array of stacked experts: with its underscore, or bare where the main array is bare."""
    for end, part in _FUSED.items():
        stem = name.removesuffix(f"_{end}")
        if stem != name:
            if stem in stored:
                return stem, part
            if f"{stem}_blocks" in stored or f"{stem}_packed" in stored or f"{stem}_qweight" in stored:
                return f"{stem}_", part
    scales = (f"{name}_{end}" for end in ("scale_inv", "scale", "weight_scale", "weight_scale_inv"))
    return (name, "weight") if any(scale in stored for scale in scales) else None


def settings(quantization: Mapping[str, Any] | None, module: Module) -> Mapping[str, Any] | None:
    """What MLX's `quantization` says for this very module.

    It holds settings for all modules and, under a module's path, settings that replace them (its loader hands them
    on as they are), True for the common ones or False for none (mlx_lm/utils.py, `load_model`). A lone array is
    packed by nothing, unless it is named itself.
    """
    if not quantization:
        return None
    own = quantization.get(module.path)
    if own is False:
        return None
    if isinstance(own, Mapping):
        return own
    if own is not True and len(module.parts) == 1:
        return None
    return {key: value for key, value in quantization.items() if not isinstance(value, (dict, bool))}


def identify(module: Module, stored: Mapping[str, Part], quantization: Mapping[str, Any] | None) -> Match | None:
    """The one format that recognises these arrays and the logical shape, None where no format does.

    Raises:
        CheckpointError: several formats do, or one finds its own arrays contradicting or strange ones among them.
    """
    by_main = _by_main(_imported(stored, quantization))
    empty = next((name for name, part in stored.items() if name in by_main and 0 in part.shape), None)
    if empty is not None and len(stored) > 1:
        raise CheckpointError(f"The packed weights '{empty}' are empty, {stored[empty].shape}; a matrix was expected.")
    asked = dict.fromkeys(form for name in stored for form in by_main.get(name, ()))
    hits = [hit for hit in (form.match(quantization, stored) for form in asked) if hit is not None]
    if len(hits) > 1:
        names = ", ".join(form.name for form, _ in hits)
        raise CheckpointError(f"The tensor '{module.name}' could be any of {names}; localq does not guess.")
    if not hits:
        return None
    form, shape = hits[0]
    check_scheme(form, quantization)
    if len(stored) > 1:
        form.check_parts(shape, stored)
        strange = set(stored) - wanted_parts(form, shape) - set(form.unused)
        if strange:
            raise CheckpointError(
                f"A {form.name} tensor has no part {' and no '.join(repr(n) for n in sorted(strange))}; "
                f"expected {', '.join(sorted(wanted_parts(form, shape)))}."
            )
    return form, shape


def _imported(stored: Mapping[str, Part], quantization: Mapping[str, Any] | None) -> int:
    """Have the files imported whose formats may know these arrays; how many formats there are then."""
    from localq.formats.base import registered
    from localq.formats.index import import_plain

    lone = next(iter(stored.values())).dtype if len(stored) == 1 else ""
    online = (quantization or {}).get("quant_method") == "bitnet"  # its master weights are plain floats
    if not lone or online or not import_plain(lone):
        _import_for(frozenset(stored))
    return len(registered())


@cache
def _import_for(stored: frozenset[str]) -> None:
    from localq.formats.index import import_for

    import_for(stored)


@cache
def _by_main(formats: int) -> dict[str, list[type[Format]]]:
    """The formats (so many, when asked) that each main array may belong to."""
    from localq.formats.base import registered

    found: dict[str, list[type[Format]]] = {}
    for form in registered().values():
        for main in form.mains:
            found.setdefault(main, []).append(form)
    return found


def wanted_parts(form: type[Format], shape: tuple[int, ...]) -> set[str]:
    """Names of the parts a tensor of this format and shape has or may have."""
    return set(form.layout(shape)) | set(form.options(shape))
