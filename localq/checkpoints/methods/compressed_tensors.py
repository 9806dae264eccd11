"""compressed-tensors: groups of targets with a scheme each, as llm-compressor writes them.

`config_groups` maps a name to `targets` (module names, "re:" patterns, class names) and `weights` (num_bits, type,
strategy, group_size, symmetric, block_structure); `format` is said per group, else for all; `ignore` takes modules out
again. Exact names go before patterns, patterns before classes. AutoRound's `llm_compressor` packing has no groups: its
arrays (MXFP4, MXFP8, NVFP4) say everything. `sparsity_config` tells of weights stored without their zeros; which, the
arrays say. Sources: compressed_tensors/quantization/quant_config.py, utils/match.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from localq.checkpoints.patterns import Pattern
from localq.errors import CheckpointError, UnsupportedError

_SPARSE = ("sparse-24-bitmask", "sparse-bitmask")
_KEYS = ("num_bits", "type", "strategy", "group_size", "symmetric")


class Targets(NamedTuple):
    """What a list of targets or exclusions names."""

    names: frozenset[str]
    patterns: tuple[Pattern, ...]
    classes: frozenset[str]

    def rank(self, path: str) -> int:
        """How closely a module is named: 0 by name, 1 by pattern, 2 by class; 3 not at all."""
        if path in self.names:
            return 0
        if any(pattern.match(path) for pattern in self.patterns):
            return 1
        return 2 if _class(path) in self.classes else 3


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> format, num_bits, type, strategy, group_size, symmetric, weight_block_size, version, sparsity."""
    sparsity = config.get("sparsity_config")
    kind = sparsity.get("format") if isinstance(sparsity, Mapping) else None
    if kind not in (None, "dense", *_SPARSE):
        raise UnsupportedError(
            f"The checkpoint is stored sparse ({kind}), which localq does not undo.",
            "Take a dense build of the same model.",
        )
    common = {"quant_method": "compressed-tensors", "version": config.get("version")}
    if kind in _SPARSE:
        common["sparsity"] = kind
    if not config.get("config_groups"):
        return lambda path: common
    groups = _groups(config)
    ignored = read_targets(config.get("ignore") or [], "ignore")

    def answer(path: str) -> Mapping[str, Any] | None:
        ranked = [(targets.rank(path), settings) for targets, settings in groups]
        best = min(ranked, key=lambda pair: pair[0])
        if best[0] == 3 or ignored.rank(path) < 3:
            return common if kind in _SPARSE else None
        return {**common, **best[1]}

    return answer


def _groups(config: Mapping[str, Any]) -> list[tuple[Targets, dict[str, Any]]]:
    found = config["config_groups"]
    if not isinstance(found, Mapping):
        raise CheckpointError(f"The config's config_groups is {type(found).__name__}; an object was expected.")
    groups = []
    for name, group in found.items():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if not isinstance(weights, Mapping):
            raise CheckpointError(f"The config's group '{name}' says nothing of weights.")
        settings = {key: weights.get(key) for key in _KEYS}
        settings["format"] = group.get("format") or (config.get("format") if len(found) == 1 else None)
        if weights.get("strategy") == "block":
            settings["weight_block_size"] = _block(weights.get("block_structure"))
        groups.append((read_targets(group.get("targets"), name), settings))
    return groups


def read_targets(found: Any, where: str) -> Targets:
    """A list of module names, "re:" patterns and class names; `where` names it in errors.

    Raises:
        CheckpointError: it is no such list.
    """
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise CheckpointError(f"The config's targets of '{where}' are {found!r}; a list of names was expected.")
    patterns = tuple(Pattern(one[3:]) for one in found if one.startswith("re:"))
    plain = frozenset(one for one in found if not one.startswith("re:"))
    return Targets(plain, patterns, plain)


def _class(path: str) -> str:
    """The class a module of this path has; only linear layers and embeddings are ever packed."""
    return "Embedding" if "embed" in path.rpartition(".")[2] else "Linear"


def _block(found: Any) -> Any:
    """Sides of a block: [128, 128], or "128x128" as older versions wrote it."""
    if isinstance(found, str):
        sides = found.split("x")
        return [int(side) for side in sides] if all(side.isdigit() for side in sides) else found
    return found
