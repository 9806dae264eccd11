"""Lists of modules a config leaves unquantised (`modules_to_not_convert`), read as transformers reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.checkpoints.patterns import Pattern
from localq.errors import CheckpointError


def excluded(config: Mapping[str, Any], key: str = "modules_to_not_convert") -> Callable[[str], bool]:
    """Whether the config's list at `key` names a module's path.

    An entry names what it matches from the start up to the end of a name's component ("layers.1", as a pattern), and
    what ends with it ("lm_head"). Source: `should_convert_module`, transformers/quantizers/quantizers_utils.py.

    Raises:
        CheckpointError: no list of names.
        UnsupportedError: a pattern localq does not match.
    """
    entries = config.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise CheckpointError(f"The config's {key} is {type(entries).__name__}; a list of names was expected.")
    patterns = [Pattern(f"(?:{entry})({end})") for entry in entries for end in ("\\.|$",)]
    before = [Pattern(entry) for entry in entries if entry.endswith(".")]
    ends = tuple(entries)

    def answer(path: str) -> bool:
        return path.endswith(ends) or any(p.match(path) for p in (*patterns, *before))

    return answer if entries else lambda path: False
