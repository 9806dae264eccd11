"""gptq: AutoGPTQ's and gptqmodel's config.

`bits`, `group_size` and `sym` for all modules; gptqmodel's `dynamic` overrides them per module: patterns matched from
the start of a module's name, the first that matches counts, `-:` leaves the module unquantised. `checkpoint_format`
(or `format`; "gptq" where neither is written) says how zero points and codes lie; a v1 file that gptqmodel wrote with
`sym` false is answered as "gptq_w", see localq/formats/gptq.py.
Sources: gptqmodel/quantization/config.py (`_resolve_dynamic_override`), utils/model.py; optimum/gptq.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.exclusions import excluded
from localq.checkpoints.patterns import Pattern
from localq.errors import CheckpointError

_KEYS = ("bits", "group_size", "sym", "pack_dtype")


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> settings of formats/gptq.py, None where a rule excludes the module."""
    common = {key: config[key] for key in _KEYS if key in config}
    common |= {
        "quant_method": "gptq",
        "checkpoint_format": config.get("checkpoint_format") or config.get("format", "gptq"),
    }
    dynamic, left_out = read_dynamic(config), excluded(config)

    def answer(path: str) -> Mapping[str, Any] | None:
        if left_out(path):
            return None
        for pattern, own in dynamic:
            if pattern.match(path):
                return None if own is None else _written({**common, **own}, config)
        return _written(common, config)

    return answer


def read_dynamic(
    config: Mapping[str, Any], keys: tuple[str, ...] = _KEYS
) -> list[tuple[Pattern, dict[str, Any] | None]]:
    """The rules of `dynamic`: pattern and the settings of these names that it replaces, None where it excludes.

    Raises:
        CheckpointError: they are none.
        UnsupportedError: a pattern localq does not match.
    """
    found = config.get("dynamic") or {}
    if not isinstance(found, Mapping):
        raise CheckpointError(f"The config's dynamic is {type(found).__name__}; an object of rules was expected.")
    parsed: list[tuple[Pattern, dict[str, Any] | None]] = []
    for text, own in found.items():
        if not isinstance(own, Mapping):
            raise CheckpointError(f"The config's dynamic rule {text!r} is {own!r}; an object was expected.")
        pattern = Pattern(text[2:] if text.startswith(("+:", "-:")) else text)
        parsed.append((pattern, None if text.startswith("-:") else {k: own[k] for k in keys if k in own}))
    return parsed


def _written(settings: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """With the kind gptqmodel writes: v1 zero points of whole words where they are not symmetric."""
    meta = config.get("meta")
    quantizer = str(meta.get("quantizer", "")) if isinstance(meta, Mapping) else ""
    words = settings.get("sym") is False and settings.get("bits") in (2, 4, 8) and "gptqmodel" in quantizer
    return (
        {**settings, "checkpoint_format": "gptq_w"} if words and settings["checkpoint_format"] == "gptq" else settings
    )
