"""Writes safetensors shards one array after the other: the header says sizes first, so no second array is held.

Layout: 8 bytes of length, a JSON header (name -> dtype, shape, offsets), padded with spaces to a multiple of 8, and the
arrays back to back. Source: github.com/huggingface/safetensors, README "Format".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from localq.checkpoints.safetensors_header import DTYPES
from localq.errors import LocalqError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARD_BYTES = 4_000_000_000
_CODES = {kind: code for code, (_, kind) in DTYPES.items() if kind}


class Planned(NamedTuple):
    """Arrays written together: name, numpy dtype's name and shape of each, and what makes them, in this order."""

    arrays: tuple[tuple[str, str, tuple[int, ...]], ...]
    make: Callable[[], Iterable[NDArray[Any]]]

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        return sum(DTYPES[_CODES[dtype]][0] * math.prod(shape) // 8 for _, dtype, shape in self.arrays)


def write_shards(folder: str, planned: Sequence[Planned], most: int = SHARD_BYTES) -> list[str]:
    """Write `model.safetensors`, or shards of at most `most` bytes (or one group of arrays) and their index.

    Raises:
        LocalqError: what was made is not what was planned.
    """
    shards = list(_split(planned, most))
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    if len(shards) == 1:
        names = ["model.safetensors"]
    for name, group in zip(names, shards, strict=True):
        _write(os.path.join(folder, name), group)
    if len(shards) > 1:
        weight_map = {a[0]: name for name, group in zip(names, shards, strict=True) for p in group for a in p.arrays}
        index = {"metadata": {"total_size": sum(p.nbytes for p in planned)}, "weight_map": weight_map}
        with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
            json.dump(index, file, indent=1)
    return names


def _split(planned: Sequence[Planned], most: int) -> Iterator[list[Planned]]:
    group: list[Planned] = []
    size = 0
    for one in planned:
        if group and size + one.nbytes > most:
            yield group
            group, size = [], 0
        group.append(one)
        size += one.nbytes
    yield group


def _write(path: str, group: Sequence[Planned]) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for one in group:
        for name, dtype, shape in one.arrays:
            begin, end = end, end + DTYPES[_CODES[dtype]][0] * math.prod(shape) // 8
            header[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for one in group:
            for (name, dtype, shape), array in zip(one.arrays, one.make(), strict=True):
                if (array.dtype.name, array.shape) != (dtype, shape):
                    raise LocalqError(
                        f"'{name}' was planned as {dtype} {shape} and made as {array.dtype.name} {array.shape}."
                    )
                file.write(array.tobytes())
        file.flush()
        os.fsync(file.fileno())
