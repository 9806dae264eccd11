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
    """A `prepare` that gives each layer's `blk.{i}.NAME.weight` the shape NAME asks for; -1 is what is left over.

    Only for float tensors: packed rows are not to be cut.
    """

    def prepare(keys: ModelKeys, pieces: dict[str, Source]) -> None:
        for i in range(keys.layers):
            for name, shape in shapes.items():
                stored = f"blk.{i}.{name}.weight"
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
