"""compressed-tensors' `transform_config`: rotations of activations that a file leaves to be done at run time.

`config_groups` name schemes (`type`, `head_dim`, `randomize`), whose `apply` lists say `location`, `targets`, `ignore`
and `inverse`. What was done to weights (weight_input, weight_output) is in the file; `input` and `output` of a layer
are done by localq, see formats/rotated.py. `q_attn` and `k_cache` turn queries and keys by one orthogonal matrix, which
leaves their products as they are: a cache kept in floats needs neither, so the pair is passed over and said.

    hadamard           Sylvester's matrix / sqrt(h); h a power of two
    random-hadamard    stored: signs, not divided by sqrt(h) yet        inverse: transposed
    random-matrix      stored as it is, also where it is an inverse

Matrices are stored once a group and size, under the first module that has them (`MODULE.GROUP_LOCATION.weight`), in the
layout `x @ R`; h is `head_dim`, else the whole side. `randomize` adds `perm`, an order of rows and columns.
Source: compressed_tensors/transform (transform_args.py, factory/hadamard.py, random_hadamard.py, matrix_multiply.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from localq.errors import CheckpointError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.methods.compressed_tensors import Targets
    from localq.formats.arrays import Array
    from localq.formats.base import Format, PackedTensor

_DONE = ("weight_input", "weight_output")
_LAYER = ("input", "output")
_CACHE = ("q_attn", "k_cache")
_TYPES = ("hadamard", "random-hadamard", "random-matrix")
_SCHEME = {"type", "apply", "randomize", "requires_grad", "head_dim", "precision"}
_APPLY = {"targets", "location", "inverse", "ignore"}
OTHER = "Get the model in another packing (GGUF, MLX, AWQ, GPTQ), or quantise the original."


class Turn(NamedTuple):
    """One rotation of activations."""

    group: str
    location: str
    kind: str
    side: int | None  # of its blocks; None: the layer's whole side
    randomize: bool
    inverse: bool
    targets: Targets
    ignored: Targets

    def rank(self, path: str) -> int:
        """How closely a module is named, 3 for not at all; as `Targets.rank`."""
        return 3 if self.ignored.rank(path) < 3 else self.targets.rank(path)


class Rotations:
    """The rotations of one checkpoint.

    Args:
        quantization: the checkpoint's, with or without a `transform_config`.
        names: stored names of all arrays.
        tied: whether the output head is the embedding table.

    Raises:
        UnsupportedError: a rotation localq does not know how to do.
        CheckpointError: the config contradicts itself.
    """

    def __init__(self, quantization: Mapping[str, Any] | None, names: Mapping[str, Any], tied: bool) -> None:
        self.turns: list[Turn] = []
        self.arrays: dict[str, tuple[str, str]] = {}  # stored name -> group and location
        config = (quantization or {}).get("transform_config")
        if not config:
            return
        groups = config.get("config_groups") if isinstance(config, Mapping) else None
        if not isinstance(groups, Mapping):
            raise UnsupportedError("The config's transform_config rotates activations in words not understood.", OTHER)
        found = [turn for name, scheme in groups.items() for turn in _turns(str(name), scheme)]
        _check_cache([turn for turn in found if turn.location in _CACHE])
        self.turns = [turn for turn in found if turn.location in _LAYER]
        ends = {f".{g}_{place}.": (str(g), place) for g in groups for place in (*_DONE, *_LAYER, *_CACHE)}
        for name in names:
            end = next((e for e in ends if f"{e}weight" in name or f"{e}perm" in name), None)
            if end is not None and name.endswith((f"{end}weight", f"{end}perm")):
                self.arrays[name] = ends[end]
        if tied and any(turn.rank("lm_head") < 3 for turn in self.turns):
            raise UnsupportedError(
                "The config's transform_config rotates lm_head, which is tied to the embedding.", OTHER
            )
        self._made: dict[tuple[str, bool], Array] = {}

    def of(self, name: str, shape: tuple[int, ...]) -> dict[str, Turn]:
        """Location -> rotation of the layer whose weight or bias is called `name`, in this shape.

        Raises:
            UnsupportedError: several at one place, or a layer that is no plain matrix.
        """
        path, _, last = name.rpartition(".")
        if not self.turns or last not in ("weight", "bias") or len(shape) != (2 if last == "weight" else 1):
            if any(turn.rank(path if last == "weight" else name) < 2 for turn in self.turns) and len(shape) > 2:
                raise UnsupportedError(f"The config's transform_config rotates a stack of shape {shape}.", OTHER)
            return {}
        found: dict[str, Turn] = {}
        for turn in self.turns:
            if turn.rank(path) == 3 or (last == "bias" and turn.location == "input"):
                continue
            if turn.location in found or "embed" in path.rpartition(".")[2]:
                raise UnsupportedError(
                    f"The config's transform_config rotates the {turn.location} of {path} in a way localq does not do.",
                    OTHER,
                )
            found[turn.location] = turn
        return found

    def why(self) -> dict[str, str]:
        """Stored name -> why its array is no tensor of the model."""
        words = {
            **dict.fromkeys(_LAYER, "a rotation, done at run time"),
            **dict.fromkeys(_CACHE, "a rotation of queries and keys, whose products it leaves as they are"),
            **dict.fromkeys(_DONE, "a rotation, already done to the weights"),
        }
        return {name: words[place] for name, (_, place) in self.arrays.items()}

    def form(self, inner: type[Format], shape: tuple[int, ...], turns: Mapping[str, Turn]) -> type[Format]:
        """The format of a tensor with these rotations."""
        from localq.formats.rotated import IN, OUT, Rotated

        inputs, outputs = _side(turns.get("input"), shape[-1]), _side(turns.get("output"), shape[-2:][0])
        for place, side, length in zip(_LAYER, (inputs, outputs), (shape[-1], shape[-2:][0]), strict=True):
            plain = place in turns and turns[place].kind == "hadamard" and not turns[place].randomize
            if plain and length % side == 0 and side & (side - 1):
                raise UnsupportedError(
                    f"The config's transform_config rotates the {place} of a matrix {shape} by a Hadamard matrix of "
                    f"{side}, which is no power of two.",
                    OTHER,
                )
        own = {place for place, turn in turns.items() if turn.kind != "hadamard" or turn.randomize}
        stored = tuple(part for place, part in zip(_LAYER, (IN, OUT), strict=True) if place in own)
        return Rotated.of(inner, inputs, outputs, stored)

    def attach(self, t: PackedTensor, name: str, read: Callable[[str], Array]) -> PackedTensor:
        """The tensor between its rotations, their matrices got by `read(stored name)`.

        Raises:
            CheckpointError: a matrix is missing, or is none.
        """
        turns = self.of(name, t.shape)
        if not turns:
            return t
        from localq.formats.base import PackedTensor
        from localq.formats.rotated import IN, OUT

        form, path = self.form(t.format, t.shape, turns), name.rpartition(".")[0]
        parts = dict(t.parts)
        for place, part in zip(_LAYER, (IN, OUT), strict=True):
            if part in form.layout(t.shape):
                side = _side(turns[place], t.shape[-1] if place == "input" else t.shape[-2:][0])
                parts[part] = self._matrix(turns[place], path, side, read)
        return PackedTensor(form, t.shape, parts)

    def _matrix(self, turn: Turn, path: str, side: int, read: Callable[[str], Array]) -> Array:
        """A stored rotation as it multiplies activations; the same array for all layers that share it."""
        import numpy as np

        stem = self._stem(turn, path, side, read)
        transposed = turn.inverse and turn.kind != "random-matrix"
        if (stem, transposed) in self._made:
            return self._made[stem, transposed]
        matrix = read(f"{stem}weight").astype(np.float64)
        if turn.kind != "random-matrix":
            if not np.all(np.abs(matrix) == 1):
                raise CheckpointError(f"The rotation '{stem}weight' has entries other than 1 and -1.")
            matrix /= math.sqrt(side)
        elif not np.isfinite(matrix).all():
            raise CheckpointError(f"The rotation '{stem}weight' is not finite.")
        if turn.randomize and turn.kind != "random-matrix":
            order = self._order(f"{stem}perm", side, read)
            matrix = matrix[order][:, order]
        made = np.ascontiguousarray(matrix.T if transposed else matrix, np.float32)
        return self._made.setdefault((stem, transposed), made)

    def _stem(self, turn: Turn, path: str, side: int, read: Callable[[str], Array]) -> str:
        """`MODULE.GROUP_LOCATION.` of the stored matrix: the layer's own, else that of the group and size."""
        own = f"{path}.{turn.group}_{turn.location}."
        places = (turn.location,) if turn.kind == "random-matrix" else _LAYER
        for name in (f"{own}weight", *(n for n, at in self.arrays.items() if at[0] == turn.group and at[1] in places)):
            if name in self.arrays and name.endswith("weight") and read(name).shape == (side, side):
                return name.removesuffix("weight")
        raise CheckpointError(
            f"The rotation of the {turn.location} of {path}, {side} x {side}, is not stored; '{own}weight' or one of "
            f"another layer of the group '{turn.group}' was expected."
        )

    def _order(self, name: str, side: int, read: Callable[[str], Array]) -> Array:
        if name not in self.arrays:
            raise CheckpointError(f"The rotation's order '{name}' is not stored, as `randomize` asks for.")
        order = read(name)
        if sorted(order.tolist()) != list(range(side)):
            raise CheckpointError(f"The rotation's order '{name}' is no permutation of {side}.")
        return order


def _side(turn: Turn | None, whole: int) -> int:
    return 0 if turn is None else turn.side or whole


def _turns(group: str, scheme: Any) -> list[Turn]:
    """The rotations of one scheme that are done at run time."""
    strange = set(scheme) - _SCHEME if isinstance(scheme, Mapping) else {"no object"}
    applied = scheme.get("apply") or [] if isinstance(scheme, Mapping) else []
    if (
        strange
        or not isinstance(applied, list)
        or not all(isinstance(a, Mapping) and set(a) <= _APPLY for a in applied)
    ):
        said = ", ".join(sorted(map(str, strange))) or "apply"
        raise UnsupportedError(f"The config's transform_config group '{group}' is not understood: {said}.", OTHER)
    online = [one for one in applied if one.get("location") not in _DONE]
    if not online:
        return []
    kind, side = scheme.get("type"), scheme.get("head_dim")
    known = kind in _TYPES and all(one.get("location") in (*_LAYER, *_CACHE) for one in online)
    if not known or not (side is None or (type(side) is int and side > 0)):
        places = ", ".join(sorted(str(one.get("location")) for one in online))
        raise UnsupportedError(
            f"The config's transform_config rotates activations at run time ({places}) by {kind!r} of {side!r}; localq "
            f"knows {', '.join(_TYPES)} at {', '.join((*_LAYER, *_CACHE))}.",
            OTHER,
        )
    return [
        Turn(
            group,
            one["location"],
            kind,
            side,
            scheme.get("randomize") is True,
            one.get("inverse") is True,
            _names(one.get("targets"), group),
            _names(one.get("ignore") or [], group),
        )  # fmt: skip
        for one in online
    ]


def _names(found: Any, group: str) -> Targets:
    from localq.checkpoints.methods.compressed_tensors import read_targets  # and patterns: only where they are needed

    return read_targets([found] if isinstance(found, str) else found, f"transform_config.{group}")


def _check_cache(turns: list[Turn]) -> None:
    """Queries and keys must be turned alike, by an orthogonal matrix: then nothing is to be done."""
    alike = {(t.group, t.side, t.inverse, t.targets.names, t.ignored.names, t.kind) for t in turns}
    for one in turns:
        both = {t.location for t in turns if t.group == one.group} == set(_CACHE)
        if not both or len([a for a in alike if a[0] == one.group]) != 1 or one.kind == "random-matrix":
            raise UnsupportedError(
                f"The config's transform_config group '{one.group}' rotates queries or keys alone ({one.location}), or "
                f"not alike; q_attn and k_cache by one Hadamard matrix were expected.",
                OTHER,
            )
