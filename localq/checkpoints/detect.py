"""From a path to an open checkpoint: which container it is, and which files belong to it."""

from __future__ import annotations

import os

from localq.checkpoints.base import Checkpoint
from localq.checkpoints.mapped import map_file, reason
from localq.checkpoints.other_containers import refuse_other
from localq.checkpoints.shards import beside, read_index, split_name
from localq.checkpoints.towers import WHY, of_tower
from localq.errors import CheckpointError, LocalqError, NotFoundError, UnsupportedError, UsageError

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_INDEX = ".safetensors.index.json"
_USUAL_INDEX = "model" + _INDEX


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Open a folder, a `.gguf` file (any shard of a split one), a `.safetensors` file or an index; read headers only.

    Raises:
        NotFoundError: nothing at this path.
        UsageError: a folder with several checkpoints, or with none.
        UnsupportedError: only pickles, or a container localq does not read.
        CheckpointError: damaged, hostile or contradicting files.
    """
    where = os.fspath(path)
    if os.path.isdir(where):
        return _open_folder(where)
    if not os.path.lexists(where):
        raise NotFoundError(f"There is no file or folder {where!r}.", "Check the path, or name a model of the hub.")
    if where.endswith(_INDEX):
        return _open_index(where, where)
    start = bytes(map_file(where)[:9])
    if where.endswith(_PICKLES) and start[:4] not in _OLD:
        refuse_other(where, _beside(where))
        raise _pickle_error(where)
    if start[:4] == b"GGUF" or where.endswith(".gguf") or start[:4] in _OLD:
        return _open_gguf(where)
    if where.endswith(".safetensors") or start[8:9] == b"{":
        return _open_safetensors(where)
    refuse_other(where, [os.path.basename(where)])
    raise CheckpointError(
        f"{where} is neither GGUF nor safetensors: it starts with {start[:8]!r}.",
        "localq opens .gguf and .safetensors files and folders that hold them.",
    )


_OLD = (b"lmgg", b"tjgg", b"fmgg", b"algg")  # GGML, GGJT, GGMF, GGLA: refused by name in the GGUF reader


def _beside(path: str) -> list[str]:
    """The file's own name, and those that lie beside it and say whose it is."""
    name, others = os.path.basename(path), os.listdir(os.path.dirname(path) or ".")
    return [name, *(other for other in others if other.endswith((".xml", ".json", ".txt")))]


def _open_gguf(path: str) -> Checkpoint:
    from localq.checkpoints.gguf import GGUFCheckpoint

    return GGUFCheckpoint(path)


def _open_safetensors(path: str) -> Checkpoint:
    """A file that an index beside it names opens the whole checkpoint; any other opens alone."""
    from localq.checkpoints.safetensors import SafetensorsCheckpoint

    folder, name = os.path.split(path)
    if split_name(name, ".safetensors"):
        for other in sorted(os.listdir(folder or ".")):
            index = os.path.join(folder, other)
            if other.endswith(_INDEX) and name in read_index(index).values():
                return _open_index(path, index)
    return SafetensorsCheckpoint(path, folder, [path])


def _open_index(path: str, index: str) -> Checkpoint:
    from localq.checkpoints.safetensors import SafetensorsCheckpoint

    weight_map = read_index(index)
    names = sorted(set(weight_map.values()))
    folder = os.path.dirname(index)
    missing = [name for name in names if not os.path.isfile(os.path.join(folder, name))]
    absent = {tensor for tensor, file in weight_map.items() if file in missing}
    if missing and (len(missing) == len(names) or not all(map(of_tower, absent))):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CheckpointError(
            f"{index} names {len(names)} files; missing: {', '.join(missing[:3])}{more}.", "Download the missing files."
        )
    files = [beside(folder, name) for name in names if name not in missing]
    found = SafetensorsCheckpoint(path, folder, files, {t: f for t, f in weight_map.items() if t not in absent})
    found.unused = {**found.unused, **dict.fromkeys(sorted(absent), f"{WHY}; not on this disk")}
    return found


def _open_folder(folder: str) -> Checkpoint:
    """The one checkpoint of a folder; several, or none, are errors that name what is there."""
    try:
        names = sorted(name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name)))
    except OSError as error:
        raise LocalqError(f"{folder} cannot be listed: {reason(error)}.") from None
    ggufs = [name for name in names if name.endswith(".gguf")]
    tensors = [name for name in names if name.endswith(".safetensors")]
    if ggufs and tensors:
        raise UsageError(
            f"{folder} holds both GGUF ({_some(ggufs)}) and safetensors ({_some(tensors)}).", "Name the file to open."
        )
    if ggufs:
        texts = [name for name in ggufs if "mmproj" not in name.lower()] or ggufs
        opened = _open_gguf(beside(folder, _one_gguf(folder, texts)))
        opened.unused = {**opened.unused, **{name: WHY for name in ggufs if name not in texts}}
        return opened
    if tensors or any(name.endswith(_INDEX) for name in names):
        return _open_tensors(folder, names, tensors)
    refuse_other(folder, names)
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if pickles:
        raise _pickle_error(os.path.join(folder, pickles[0]))
    found = f"it has {_some(names)}" if names else "it is empty"
    raise NotFoundError(f"{folder} holds no .gguf and no .safetensors file: {found}.", "Name the folder of a model.")


def _one_gguf(folder: str, names: list[str]) -> str:
    """The only GGUF of a folder, or the first shard there of the only split one."""
    splits = {name: split_name(name) for name in names}
    families = {(split[0], split[2]) if split else (name, 1) for name, split in splits.items()}
    if len(families) > 1:
        raise UsageError(f"{folder} holds {len(families)} GGUF models: {_some(names)}.", "Name the file to open.")
    return names[0]


def _open_tensors(folder: str, names: list[str], tensors: list[str]) -> Checkpoint:
    """By index where there is one, else the only safetensors file, else `model.safetensors`."""
    from localq.checkpoints.safetensors import SafetensorsCheckpoint

    indexes = [name for name in names if name.endswith(_INDEX)]
    if _USUAL_INDEX in indexes or len(indexes) == 1:
        return _open_index(folder, beside(folder, _USUAL_INDEX if _USUAL_INDEX in indexes else indexes[0]))
    if indexes:
        raise UsageError(f"{folder} holds several indexes: {_some(indexes)}.", "Name the index to open.")
    only = "model.safetensors" if "model.safetensors" in tensors else tensors[0]
    split = split_name(only, ".safetensors")
    if split:
        return SafetensorsCheckpoint(folder, folder, [beside(folder, name) for name in _shards(folder, tensors)])
    if len(tensors) > 1 and only != "model.safetensors":
        raise UsageError(
            f"{folder} holds {len(tensors)} safetensors files and no index: {_some(tensors)}.",
            "Name the file to open, or add the model.safetensors.index.json.",
        )
    return SafetensorsCheckpoint(folder, folder, [beside(folder, only)])


def _shards(folder: str, tensors: list[str]) -> list[str]:
    """Shards without an index: all numbers of one set must be there."""
    first = split_name(tensors[0], ".safetensors")
    assert first is not None
    wanted = [f"{first[0]}-{number:05d}-of-{first[2]:05d}.safetensors" for number in range(1, first[2] + 1)]
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise CheckpointError(f"{folder} lacks {_some(missing)} of {first[2]} shards.", "Download the missing files.")
    others = [name for name in tensors if name not in wanted]
    if others:
        raise UsageError(
            f"{folder} holds shards and other safetensors files: {_some(others)}.", "Name the file to open."
        )
    return wanted


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _pickle_error(path: str) -> UnsupportedError:
    return UnsupportedError(
        f"{path} holds pickled weights, which localq never loads because loading a pickle runs its code.",
        "Get the model as safetensors or GGUF, or convert it yourself in a place where you trust it.",
    )
