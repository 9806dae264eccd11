"""Checkpoints in several files: the shards of a split GGUF, the index of sharded safetensors.

llama.cpp names shards `<prefix>-%05d-of-%05d.gguf`, counting from 1 (`llama_split_path`), and says in every shard
`split.no` (from 0), `split.count` and `split.tensors.count`; the first shard carries all other keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from localq.checkpoints.mapped import shown
from localq.errors import CheckpointError

_DIGITS = 5


def split_name(path: str, ending: str = ".gguf") -> tuple[str, int, int] | None:
    """`a-00002-of-00003.gguf` -> ("a", 2, 3); None for a path that is not named as a shard."""
    stem = path.removesuffix(ending)
    tail = stem[-(2 * _DIGITS + 5) :]
    number, count = tail[1 : 1 + _DIGITS], tail[-_DIGITS:]
    if stem == path or tail != f"-{number}-of-{count}" or not _is_number(number) or not _is_number(count):
        return None
    return stem[: -len(tail)], int(number), int(count)


def _is_number(text: str) -> bool:
    return len(text) == _DIGITS and text.isascii() and text.isdigit()


def gguf_shards(path: str, metadata: Mapping[str, Any]) -> list[str]:
    """Paths of all shards of the checkpoint that `path` belongs to, in order; `[path]` if it is not split.

    Raises:
        CheckpointError: the name and the header disagree, or shards are missing.
    """
    count = split_key(path, metadata, "split.count", 1)
    named = split_name(path)
    if count <= 1:
        if named and named[2] > 1:
            raise CheckpointError(
                f"{path} is named as shard {named[1]} of {named[2]}, but its header says it is not split.",
                "Rename the file, or download all shards of one model again.",
            )
        return [path]
    if named is None or named[2] != count:
        raise CheckpointError(
            f"{path} is one of {count} shards, but is not named like one (name-00001-of-{count:05d}.gguf).",
            "Give the shards back their names.",
        )
    paths = [f"{named[0]}-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1)]
    missing = [os.path.basename(p) for p in paths if not os.path.isfile(p)]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CheckpointError(
            f"{path} is one of {count} shards; missing beside it: {', '.join(missing[:3])}{more}.",
            "Download the missing shards into the same folder.",
        )
    return paths


def check_shard(path: str, metadata: Mapping[str, Any], number: int, count: int) -> None:
    """Refuse a shard whose header says another place than its name.

    Raises:
        CheckpointError: `split.no` or `split.count` is not what the name says.
    """
    have = (split_key(path, metadata, "split.no", -1), split_key(path, metadata, "split.count", -1))
    if have != (number, count):
        raise CheckpointError(
            f"{path} says it is shard number {have[0]} (from 0) of {have[1]}; by its name it is {number} of {count}.",
            "The shards of different models or downloads are mixed: download them again.",
        )


def split_key(path: str, metadata: Mapping[str, Any], key: str, default: int) -> int:
    """An integer key of a split file, or `default` where it is absent."""
    value = metadata.get(key, default)
    if type(value) is not int:
        raise CheckpointError(f"{path}: {key} is {shown(str(value))}; an integer is expected.")
    return value
