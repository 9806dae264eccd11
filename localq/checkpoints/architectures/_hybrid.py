"""Models whose layers are of several kinds (attention, state space, convolution, MLP): one table of names a kind.

Also the values that llama.cpp's converter changes in recurrent layers, changed back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from localq.checkpoints.architectures import Name
from localq.checkpoints.architectures._shapes import as_shape
from localq.checkpoints.keys import is_array
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.architectures import Change
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source
    from localq.formats.base import PackedTensor

    Tables = Mapping[str, Mapping[str, str | Name]]
    Prepare = Callable[[ModelKeys, dict[str, Source]], None]


def any_kind(tables: Tables) -> dict[str, str | Name]:
    """One table of all kinds' names, each optional: `check_kinds` knows which layer needs which."""
    found: dict[str, str | Name] = {}
    for table in tables.values():
        for gguf, target in table.items():
            name = (target if isinstance(target, Name) else Name(target))._replace(optional=True)
            if found.get(gguf, name).hf != name.hf:  # type: ignore[union-attr]  # all are Names here
                raise AssertionError(f"'{gguf}' has a name for each kind of layer")
            found[gguf] = name
    return found


def check_kinds(tables: Tables, kinds: Callable[[ModelKeys], Sequence[str]]) -> Prepare:
    """A `prepare` that holds every layer to the table of its kind.

    Raises:
        CheckpointError: a layer lacks a tensor of its kind, or has one of another.
    """

    def prepare(keys: ModelKeys, pieces: dict[str, Source]) -> None:
        everything = {gguf for table in tables.values() for gguf in table}
        for i, kind in enumerate(kinds(keys)):
            for gguf, target in tables[kind].items():
                name = gguf.replace("{i}", str(i))
                numbered = name.replace("_exps.", ".0.")  # a stack of experts written one by one
                if name not in pieces and numbered not in pieces and not (isinstance(target, Name) and target.optional):
                    raise CheckpointError(
                        f"The GGUF file lacks the tensor '{name}' that {_a(kind)} layer of architecture "
                        f"'{keys.architecture}' needs.",
                        "It may be one shard of a split file, or a partial download.",
                    )
            odd = sorted(n for g in everything - tables[kind].keys() if (n := g.replace("{i}", str(i))) in pieces)
            if odd:
                raise CheckpointError(
                    f"Layer {i} is {_a(kind)} layer by the keys of this '{keys.architecture}' file, but has '{odd[0]}'."
                )

    return prepare


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def in_turn(*steps: Prepare) -> Prepare:
    """Several `prepare`s one after the other."""

    def prepare(keys: ModelKeys, pieces: dict[str, Source]) -> None:
        for step in steps:
            step(keys, pieces)

    return prepare


def by_kv_heads(recurrent: str, attention: str = "attention") -> Callable[[ModelKeys], list[str]]:
    """Kinds of layers told by `attention.head_count_kv`, an array that is 0 where a layer is recurrent."""
    return lambda keys: [attention if n else recurrent for n in kv_heads_of(keys)]


def kv_heads_of(keys: ModelKeys) -> list[int]:
    """`attention.head_count_kv` layer by layer."""
    return whole_numbers(keys, "attention.head_count_kv", keys.layers)


def whole_numbers(keys: ModelKeys, key: str, count: int) -> list[int]:
    """`count` whole numbers, of a list (blocks beyond the layers left out) or one for all.

    Raises:
        CheckpointError: it is neither.
    """
    found = keys.value(key)
    values = list(found)[:count] if is_array(found) else [found] * count
    if len(values) != count or any(type(v) is not int or v < 0 for v in values):
        raise CheckpointError(f"'{keys.architecture}.{key}' is no list of {count} whole numbers.")
    return values


def the_one(keys: ModelKeys, key: str, values: Sequence[int]) -> int:
    """The number that all entries but zeros have.

    Raises:
        UnsupportedError: they differ, or all are zero.
    """
    different = {v for v in values if v}
    if len(different) != 1:
        keys.refuse(key)
    return different.pop()


def log_of_minus(keys: ModelKeys, shape: tuple[int, ...]) -> Change:
    """`A_log` again from -exp(A_log), in float32: exact from |A_log| = 2 on, else within two last units."""

    def change(t: PackedTensor) -> PackedTensor:
        import numpy as np

        values = -t.dequantize().astype(np.float64)
        if not (values > 0).all():
            raise CheckpointError("A decay (ssm_a) is not below zero; the file is damaged.")
        return floats(np.log(values).astype(np.float32))

    return change


def floats(values: Any) -> PackedTensor:
    """A float32 array as a tensor."""
    from localq.formats import FORMATS
    from localq.formats.base import PackedTensor

    (part,) = FORMATS["f32"].layout(values.shape)
    return PackedTensor(FORMATS["f32"], values.shape, {part: values})


def three_axes(*names: str) -> Prepare:
    """A `prepare` that gives `blk.{i}.NAME.weight`, stored `[channels, taps]`, Hugging Face's `[channels, 1, taps]`."""

    def prepare(keys: ModelKeys, pieces: dict[str, Source]) -> None:
        for i in range(keys.layers):
            for name in names:
                stored = f"blk.{i}.{name}.weight"
                if stored in pieces:
                    shape = [side for side in pieces[stored].shape if side != 1]
                    if len(shape) != 2:
                        raise CheckpointError(
                            f"'{stored}' has shape {pieces[stored].shape}; expected [channels, taps] of a convolution."
                        )
                    pieces[stored] = as_shape(pieces[stored], (shape[0], 1, shape[1]))

    return prepare
