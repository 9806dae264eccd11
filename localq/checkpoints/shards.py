"""Checkpoints in several files: the shards of a split GGUF, the index of sharded safetensors.

llama.cpp names shards `<prefix>-%05d-of-%05d.gguf`, counting from 1 (`llama_split_path`), and says in every shard
`split.no` (from 0), `split.count` and `split.tensors.count`; the first shard carries all other keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from localq.checkpoints.mapped import DAMAGED, map_file, shown
from localq.checkpoints.strict_json import read_object
from localq.errors import CheckpointError

MAX_INDEX = 1 << 25  # the longest index known (140,000 tensors) has 17 MB
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


def read_index(path: str) -> dict[str, str]:
    """The `weight_map` of a `*.safetensors.index.json`: tensor name -> plain name of a file beside the index.

    Raises:
        CheckpointError: no such map, or an entry that is not the name of a file in the same folder.
    """
    index = read_object(map_file(path), path, MAX_INDEX)
    weights = index.get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(f"{path} has no weight_map; an object of tensor names and files is expected.", DAMAGED)
    for name, file in weights.items():
        if not isinstance(file, str) or not is_plain_name(file) or not file.endswith(".safetensors"):
            raise CheckpointError(
                f"{path} puts tensor {shown(name)} into {shown(str(file))}; "
                "the plain name of a .safetensors file in the same folder is expected.",
                "Do not trust this checkpoint: such an index reaches outside its folder.",
            )
    return weights


def is_plain_name(name: str) -> bool:
    """Whether a name can only mean a file in the folder itself, on any system."""
    return name not in ("", ".", "..") and name.isprintable() and not any(c in name for c in '/\\:*?"<>|')


def beside(folder: str, name: str) -> str:
    """Path of the file `name` in `folder`, if what it leads to is part of the checkpoint.

    A symbolic link may stay inside the folder, or lead into the `blobs` of the repository in the Hugging Face cache
    that the folder is a snapshot of, or of that cache itself (huggingface_hub 2 lets repositories share blobs there);
    nothing else, so that a downloaded folder cannot show files from elsewhere on this machine.

    Raises:
        CheckpointError: a link that leads elsewhere.
    """
    path = os.path.join(folder, name)
    home = os.path.realpath(folder or ".")
    allowed = [home]
    if os.path.basename(os.path.dirname(home)) == "snapshots":
        repository = os.path.dirname(os.path.dirname(home))
        allowed.append(os.path.join(repository, "blobs"))
        if os.path.basename(repository).startswith("models--"):  # blobs that several repositories share
            allowed.append(os.path.join(os.path.dirname(repository), "blobs"))
    real = os.path.realpath(path)
    if not any(real.startswith(os.path.join(root, "")) for root in allowed):
        raise CheckpointError(
            f"{path} is a link to {real}, outside its checkpoint.", "If you trust it, copy the file into the folder."
        )
    return path
