"""awq: the config of AutoAWQ, llm-awq and gptqmodel.

`bits` (or `w_bit`), `group_size` (or `q_group_size`), `zero_point`, and `version` (AutoAWQ, in either case), `format`
or `checkpoint_format` (gptqmodel): which of the layouts was written, "gemm" where none is named. "exllama" and "ipex"
are ways to run gemm files, "llm-awq" is gemv_fast. gptqmodel's `dynamic` rules are as for gptq.
Sources: autoawq awq/models/_config.py; gptqmodel/quantization/config.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.methods import gptq
from localq.errors import UnsupportedError

_LAYOUTS = {
    **{"gemm": "gemm", "gemv": "gemv", "gemv_fast": "gemv_fast", "llm-awq": "gemv_fast", "llm_awq": "gemv_fast"},
    **{"exllama": "gemm", "ipex": "gemm", "exllamav2": "gemm"},
}


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> settings of the awq formats: bits, group_size, zero_point, version, `sym`."""
    named = next((str(config[k]) for k in ("version", "checkpoint_format", "format") if config.get(k)), "gemm")
    if config.get("backend") == "llm-awq":
        named = "llm-awq"
    if named.lower() not in _LAYOUTS:
        raise UnsupportedError(f"AWQ's version is {named!r}; localq knows {', '.join(_LAYOUTS)}.")
    common: dict[str, Any] = {"quant_method": "awq", "version": _LAYOUTS[named.lower()], "named": named}
    common["zero_point"] = config.get("zero_point")
    plain = {k: v for k, v in config.items() if k not in ("w_bit", "q_group_size")}
    plain.setdefault("bits", config.get("w_bit"))
    plain.setdefault("group_size", config.get("q_group_size"))
    of_path = gptq.rules(plain)

    def answer(path: str) -> Mapping[str, Any] | None:
        found = of_path(path)
        return None if found is None else {**found, **common}

    return answer
