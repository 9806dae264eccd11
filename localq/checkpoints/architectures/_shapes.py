"""Tensors whose shape in GGUF is not the one Hugging Face has, of the same values in the same order."""

from __future__ import annotations

import math
from collections.abc import Callable

from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source
    from localq.formats.base import PackedTensor


def reshaped(**shapes: tuple[int, ...]) -> Callable[[ModelKeys, dict[str, Source]], None]:
    """A `prepare` that gives each layer's `blk.{i}.NAME.weight` (or bias) the shape asked for; -1 is what is left over.

    Only for float tensors: packed rows are not to be cut.
    """

    def prepare(keys: ModelKeys, pieces: dict[str, Source]) -> None:
        for i in range(keys.layers):
            for name, shape in shapes.items():
                for stored in (f"blk.{i}.{name}.weight", f"blk.{i}.{name}.bias"):
                    if stored in pieces:
                        pieces[stored] = as_shape(pieces[stored], shape)

    return prepare


def as_shape(piece: Source, shape: tuple[int, ...]) -> Source:
    """A piece with another shape over the same values; -1 is what is left over. Float tensors only."""
    count = math.prod(piece.shape)
    known = math.prod(side for side in shape if side != -1)
    if piece.format not in ("f32", "f16", "bf16") or known == 0 or count % known:
        raise CheckpointError(
            f"'{piece.tensor}' is {piece.format} of shape {piece.shape}; expected a float tensor of shape {shape}."
        )
    whole = tuple(count // known if side == -1 else side for side in shape)
    first = piece.change

    def change(t: PackedTensor) -> PackedTensor:
        from localq.formats.base import PackedTensor

        t = t if first is None else first(t)
        return PackedTensor(t.format, whole, {part: values.reshape(whole) for part, values in t.parts.items()})

    return piece._replace(shape=whole, change=change)


def unstacked(pieces: dict[str, Source], stored: str, count: int) -> None:
    """`NAME.weight`, a stack of `count` matrices or rows, as `NAME.0.weight` and so on.

    Raises:
        CheckpointError: it is missing or no such stack.
    """
    piece = pieces.pop(stored, None)
    if piece is None or len(piece.shape) < 2 or piece.shape[0] != count:
        found = "missing" if piece is None else f"of shape {piece.shape}"
        raise CheckpointError(f"'{stored}' is {found}; expected a stack of {count}.")
    stem, _, kind = stored.rpartition(".")
    for e in range(count):
        pieces[f"{stem}.{e}.{kind}"] = piece._replace(
            shape=piece.shape[1:], nbytes=piece.nbytes // count, change=_member(e)
        )


def _member(e: int) -> Callable[[PackedTensor], PackedTensor]:
    def change(t: PackedTensor) -> PackedTensor:
        from localq.formats.base import PackedTensor

        if len(t.shape) > 2:
            return t.matrix(e)
        if t.format.block_size != 1:
            raise CheckpointError(f"A row of {t.shape} is packed as {t.format.name}; expected a float type.")
        return PackedTensor(t.format, t.shape[1:], {part: values[e] for part, values in t.parts.items()})

    return change
