"""auto-round: Intel's quantiser writes other methods' tensors; `packing_format` (once `backend`) says whose.

    auto_round:auto_gptq, ...:gptq     GPTQ v1 without g_idx; codes of all widths in one bitstream
    auto_round, auto_round:gptqmodel   the same with zero points as GPTQ v2 has them
    auto_round:auto_awq, ...:awq       AWQ's gemm
    auto_round:fp8, ...:fp8_static     weights and scales of blocks or outputs as quant_method fp8
    auto_round:llm_compressor          compressed-tensors' MXFP4, MXFP8, NVFP4 tensors

Bits, group and symmetry are given for all modules; `extra_config` overrides them by name, or by a pattern that is
searched in the name, names going first; 16 bits mean unquantised.
Sources: auto_round/export/export_to_autoround/export.py, inference/convert_model.py (`get_layer_config`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.methods import awq, gptq
from localq.checkpoints.patterns import Pattern
from localq.errors import CheckpointError, UnsupportedError

_KEYS = ("bits", "group_size", "sym", "data_type")
Answer = Callable[[str], Mapping[str, Any] | None]


def rules(config: Mapping[str, Any]) -> Answer:
    """Module path -> settings in the words of the method whose tensors were written."""
    method = str(config.get("quant_method"))  # names the packing itself in some FP8 files: "auto_round:fp8"
    usual = method if method.startswith("auto_round:") else "auto_round:auto_gptq"
    packing = str(config.get("packing_format") or config.get("backend") or usual)
    names, patterns = _extra(config)
    made: dict[str, Answer] = {}  # one set of rules for each set of overrides

    def answer(path: str) -> Mapping[str, Any] | None:
        own = names.get(path) or next((o for p, o in patterns if p.search(path)), {})
        settings = {k: own.get(k, config.get(k)) for k in _KEYS}
        if _unquantised(settings["bits"]):
            return None
        key = repr(settings)
        if key not in made:
            made[key] = _delegate(packing, {**config, **settings})
        return made[key](path)

    return answer


def _extra(config: Mapping[str, Any]) -> tuple[dict[str, Mapping[str, Any]], list[tuple[Pattern, Mapping[str, Any]]]]:
    """Overrides by name, and those whose key is a pattern (any key may be one; dots alone make none)."""
    found = config.get("extra_config") or {}
    if not isinstance(found, Mapping) or not all(isinstance(own, Mapping) for own in found.values()):
        raise CheckpointError("The config's extra_config is no object of objects, which was expected.")
    given = {name: own for name, own in found.items() if own}
    return given, [(Pattern(name), own) for name, own in given.items() if set(name) & set("\\*+?[](){}|^$")]


def _unquantised(bits: Any) -> bool:
    return type(bits) is int and bits >= 16


def _delegate(packing: str, config: Mapping[str, Any]) -> Answer:
    """The rules of the method `packing` writes for, asked with these settings."""
    kind = packing.removeprefix("auto_round:").partition(":")[0]
    data = str(config.get("data_type") or "int")
    plain = {k: v for k, v in config.items() if k not in ("extra_config", "dynamic", "meta", "format", "version")}
    if data == "int" and kind in ("auto_gptq", "gptq"):
        return gptq.rules({**plain, "checkpoint_format": "gptq"})
    if data == "int" and kind in ("auto_round", "gptqmodel", "tritonv2", "torch", "exllamav2"):
        return gptq.rules({**plain, "checkpoint_format": "gptq_v2"})
    if data == "int" and kind in ("auto_awq", "awq"):
        return awq.rules({**plain, "version": "gemm", "checkpoint_format": None})
    if kind in ("fp8", "fp8_static"):
        from localq.checkpoints.methods import fp8

        return fp8.rules({**plain, "quant_method": "fp8"})
    if kind == "llm_compressor":  # no groups in the config: the arrays of MXFP4, MXFP8 and NVFP4 speak for themselves
        settings = {"quant_method": "compressed-tensors", **{k: plain[k] for k in _KEYS if k in plain}}
        return lambda path: settings
    raise UnsupportedError(
        f"auto-round's packing_format {packing!r} with data_type {data!r} is not known to localq; it knows "
        f"auto_round:auto_gptq, auto_round:auto_awq, auto_round:fp8 and auto_round:llm_compressor."
    )
