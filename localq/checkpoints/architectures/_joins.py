"""Matrices that Hugging Face keeps fused and GGUF apart (q, k and v; gate and up).

Parts of one type are put together again. Parts of several types (recipes give `attn_v` more bits) make no tensor of
one format: they keep names of localq's own, `query_key_value.parts.0.weight` and so on, and the loader places them as
one layer with a piece per format.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from localq.checkpoints.architectures import Name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source
    from localq.formats.base import PackedTensor

    Rule = Callable[[ModelKeys, tuple[int, ...]], Callable[[PackedTensor], PackedTensor]] | None


def fused_names(whole: str, hf: str, parts: Sequence[tuple[str, Rule]], kind: str = "weight") -> dict[str, str | Name]:
    """Table entries for `blk.{i}.WHOLE.kind` and its parts, of which a file has either."""
    names: dict[str, str | Name] = {f"blk.{{i}}.{whole}.{kind}": Name(f"{hf}.{kind}", optional=True)}
    for at, (part, rule) in enumerate(parts):
        names[f"blk.{{i}}.{part}.{kind}"] = Name(f"{hf}.parts.{at}.{kind}", rule, optional=True)
    return names


def join_rows(whole: str, parts: Sequence[tuple[str, Rule]]) -> Callable[[ModelKeys, dict[str, Source]], None]:
    """A `prepare` that joins the rows of `parts` (name without block and kind, rule) where their types agree."""

    def prepare(keys: ModelKeys, pieces: dict[str, Source]) -> None:
        for i in range(keys.layers):
            for kind in ("weight", "bias"):
                names = [f"blk.{i}.{part}.{kind}" for part, _ in parts]
                if all(name in pieces for name in names):
                    _join(keys, pieces, f"blk.{i}.{whole}.{kind}", names, [rule for _, rule in parts])

    return prepare


def _join(keys: ModelKeys, pieces: dict[str, Source], whole: str, names: list[str], rules: list[Rule]) -> None:
    found = [pieces[name] for name in names]
    widths = {piece.shape[1:] for piece in found}
    if len({piece.format for piece in found}) > 1 or len(widths) > 1 or found[0].format == "nvfp4_ggml":
        return  # nvfp4 has a second scale per tensor
    changes = [rule(keys, piece.shape) if rule else None for rule, piece in zip(rules, found, strict=True)]

    def joined(*tensors: PackedTensor) -> PackedTensor:
        return concatenated([c(t) if c else t for c, t in zip(changes, tensors, strict=True)])

    first = found[0]
    pieces[whole] = first._replace(
        shape=(sum(piece.shape[0] for piece in found), *first.shape[1:]),
        nbytes=sum(piece.nbytes for piece in found),
        others=tuple(piece.tensor for piece in found[1:]),
        join=joined,
    )
    for name in names:
        del pieces[name]


def concatenated(tensors: Sequence[PackedTensor]) -> PackedTensor:
    """Tensors of one format below each other."""
    import numpy as np

    from localq.formats.base import PackedTensor

    first = tensors[0]
    parts: dict[str, Any] = {name: np.concatenate([t.parts[name] for t in tensors]) for name in first.parts}
    return PackedTensor(first.format, (sum(t.shape[0] for t in tensors), *first.shape[1:]), parts)
