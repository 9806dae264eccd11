"""The GGUF reader: one file or all shards of a split one, mapped, lazy, never executed.

`GGUFFile` shows what is stored under GGUF's own names; `GGUFCheckpoint` shows a model under its Hugging Face
names. Container rules: `gguf_header.py`. Neither imports numpy before a weight is asked for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from localq.checkpoints.base import Checkpoint, TensorSpec
from localq.checkpoints.gguf_header import GGUFTensor, Metadata, read_header
from localq.checkpoints.mapped import map_file, near, shown
from localq.checkpoints.shards import check_shard, gguf_shards, split_key
from localq.errors import CheckpointError, NotFoundError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from localq.checkpoints.names import Source
    from localq.formats.base import PackedTensor

_OLD_MAGICS = {b"lmgg": "GGML", b"tjgg": "GGJT", b"fmgg": "GGMF", b"algg": "GGLA"}
_MAX_ARCHITECTURE = 64


class GGUFFile:
    """All shards of one GGUF checkpoint.

    Attributes:
        path: what was opened (any shard).
        paths: all files, in shard order.
        version: GGUF version of the first file.
        metadata: key/value pairs of the first file, decoded on access.
        tensors: GGUF name -> `GGUFTensor`, over all files in stored order.

    Raises:
        NotFoundError: no such file.
        CheckpointError: a file breaks the container's rules, or shards are missing, mixed up or contradict.
        UnsupportedError: an older or foreign container, byte order, version or tensor type.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        opened = _map_gguf(self.path)
        header = read_header(opened, self.path)
        self.paths = gguf_shards(self.path, header.metadata)
        self._buffers: list[memoryview] = [opened]
        self.version, self.metadata, self.tensors = header.version, header.metadata, header.tensors
        if len(self.paths) > 1 or "split.count" in header.metadata:
            self._read_shards()

    def _read_shards(self) -> None:
        self._buffers, self.tensors = [], {}
        promised = -1
        for number, path in enumerate(self.paths):
            buffer = _map_gguf(path)
            header = read_header(buffer, path, number)
            check_shard(path, header.metadata, number, len(self.paths))
            if number == 0:
                self.version, self.metadata = header.version, header.metadata
                promised = split_key(path, header.metadata, "split.tensors.count", -1)
            twice = next((name for name in header.tensors if name in self.tensors), None)
            if twice is not None:
                raise CheckpointError(f"{path}: the tensor {shown(twice)} is also in an earlier shard.")
            self._buffers.append(buffer)
            self.tensors.update(header.tensors)
        if promised != len(self.tensors):
            raise CheckpointError(
                f"{self.paths[0]} promises {promised} tensors over all shards; they hold {len(self.tensors)}.",
                "The shards of different models or downloads are mixed: download them again.",
            )

    def data(self, name: str) -> memoryview:
        """The stored bytes of a tensor, as a view of the mapped file.

        Raises:
            NotFoundError: no tensor of that name.
            UsageError: the file was closed.
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise NotFoundError(f"{self.path} has no tensor {shown(name)}.")
        if not self._buffers:
            raise UsageError(f"{self.path} is closed.", "Read tensors before closing the checkpoint.")
        return self._buffers[tensor.file][tensor.offset : tensor.offset + tensor.nbytes]

    def packed(self, name: str) -> PackedTensor:
        """A tensor in its own format, shape and orientation, its parts views of the mapped file.

        An `nvfp4_ggml` tensor takes its second scale from the tensor `<base>.scale` (float32, one per matrix);
        where a file has none, llama.cpp multiplies by nothing, so the scale is one.

        Raises:
            UnsupportedError: a table of integers or doubles, which no format covers; `data` gives its bytes.
        """
        import numpy as np

        from localq.formats import FORMATS
        from localq.formats.base import PackedTensor

        data = self.data(name)
        tensor = self.tensors[name]
        form = FORMATS.get(tensor.type.name)
        if form is None:
            raise UnsupportedError(
                f"{self.path}: {shown(name)} is a table of {tensor.type.name}, not packed weights.",
                "Read its bytes with raw().",
            )
        layout = form.layout(tensor.shape)
        want = layout["weight"]
        parts = {"weight": _array(data, want.dtype, want.shape)}
        if "scale" in layout:
            parts["scale"] = self._second_scale(tensor, np)
        return PackedTensor(form, tensor.shape, parts)

    def _second_scale(self, tensor: GGUFTensor, np: Any) -> Any:
        name = scale_name(tensor)
        stored = self.tensors.get(name)
        if stored is None:
            return np.ones(tensor.shape[:-2], np.float32)
        count = 1
        for side in tensor.shape[:-2]:
            count *= side
        if stored.type.name != "f32" or stored.nbytes != 4 * count:
            raise CheckpointError(
                f"{self.path}: {shown(name)} is {stored.type.name} {stored.shape}; "
                f"f32 with {count} values is expected, one per matrix of {shown(tensor.name)}."
            )
        return _array(self.data(name), "float32", tensor.shape[:-2])

    def close(self) -> None:
        """Let go of the files; views and arrays taken out keep their mapping alive."""
        self._buffers = []


class GGUFCheckpoint(Checkpoint):
    """A GGUF file as a checkpoint: Hugging Face names, shapes and config where its architecture is known.

    A file without `general.architecture` is no model: architecture and config are None, names stay as stored. The
    same for a model that localq cannot name; then `architecture` is GGUF's own word and `unsupported` says why.
    """

    container = "gguf"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.file_data = GGUFFile(path)
        self.path = self.file_data.path
        self.metadata: Metadata = self.file_data.metadata
        self.architecture = self._own_architecture()
        self.config = None
        self._sources: dict[str, Source] | None = None
        if self.architecture is not None:
            self._read_model(self.architecture)
        self.specs = self._specs()

    def _own_architecture(self) -> str | None:
        key = "general.architecture"
        if key not in self.metadata:
            return None
        if self.metadata.kind(key) != "string":
            raise CheckpointError(f"{self.path}: {key} is of type {self.metadata.kind(key)}; string is expected.")
        name: str = self.metadata[key]
        if not name or len(name) > _MAX_ARCHITECTURE or not name.isprintable():
            raise CheckpointError(f"{self.path}: {key} is {shown(name)}; the short name of a model is expected.")
        return name

    def _read_model(self, architecture: str) -> None:
        """Names and config from the architecture's rules, or the reason why there are none."""
        kind = self.metadata.get("general.type", "model")
        if kind != "model":
            self.unsupported = f"{self.path} holds {shown(str(kind))} data for {architecture}, not a model."
            return
        if not self.file_data.tensors:
            self.unsupported = f"{self.path} holds no tensors: a vocabulary, not a model."
            return
        from localq.checkpoints.config import config_from_gguf
        from localq.checkpoints.keys import ModelKeys
        from localq.checkpoints.names import map_tensors, predicts_ahead

        weights = self._without_scales()
        try:
            sources = map_tensors(architecture, self.metadata, weights)
            self.architecture, self.config = config_from_gguf(self.metadata, weights, self.file_data.data)
        except UnsupportedError as error:
            self.architecture, self.unsupported = architecture, str(error)
            return
        self._sources = sources
        keys = ModelKeys(architecture, self.metadata, weights)
        self.unused = {name: "predicts further tokens" for name in weights if predicts_ahead(keys, name)}

    def _without_scales(self) -> dict[str, GGUFTensor]:
        """The tensors less those that belong to an nvfp4 tensor as its second scale or its activation scale."""
        tensors = self.file_data.tensors
        owned = set()
        for tensor in tensors.values():
            if tensor.type.name == "nvfp4_ggml":
                owned |= {scale_name(tensor), scale_name(tensor, "input_scale")}
        return {name: tensor for name, tensor in tensors.items() if name not in owned}

    def _specs(self) -> dict[str, TensorSpec]:
        tensors = self.file_data.tensors
        if self._sources is None:
            return {n: TensorSpec(n, t.type.name, t.shape, t.nbytes) for n, t in tensors.items()}
        specs = {}
        for name, source in self._sources.items():
            nbytes = source.nbytes
            if source.format == "nvfp4_ggml" and scale_name(tensors[source.tensor]) in tensors:
                matrices = 1
                for side in source.shape[:-2]:
                    matrices *= side
                nbytes += 4 * matrices
            specs[name] = TensorSpec(name, source.format, source.shape, nbytes)
        return specs

    def __getitem__(self, name: str) -> PackedTensor:
        if name not in self.specs:
            raise NotFoundError(f"{self.path} has no tensor {shown(name)}.", near(name, self.specs))
        if self._sources is None:
            return self.file_data.packed(name)
        source = self._sources[name]
        tensor = self.file_data.packed(source.tensor)
        if source.join is not None:
            tensor = source.join(tensor, *(self.file_data.packed(other) for other in source.others))
        if source.change is not None:
            tensor = source.change(tensor)
        assert tensor.shape == source.shape, f"{name}: {tensor.shape} came out of the map that says {source.shape}"
        return tensor

    def raw(self, name: str) -> tuple[memoryview, str]:
        """Stored bytes and ggml type of a tensor, by its GGUF name."""
        data = self.file_data.data(name)
        return data, self.file_data.tensors[name].type.name

    def close(self) -> None:
        self.file_data.close()


def scale_name(tensor: GGUFTensor, suffix: str = "scale") -> str:
    """Name of the tensor that holds a second scale: `blk.0.ffn_up.weight` -> `blk.0.ffn_up.scale`."""
    return f"{tensor.name.removesuffix('.weight')}.{suffix}"


def _map_gguf(path: str) -> memoryview:
    buffer = map_file(path)
    magic = bytes(buffer[:4])
    if magic in _OLD_MAGICS:
        raise UnsupportedError(
            f"{path} is a {_OLD_MAGICS[magic]} file, the container of 2023 that GGUF replaced.",
            "Download a GGUF file of this model, or convert the original again with a current llama.cpp.",
        )
    return buffer


def _array(data: memoryview, dtype: str, shape: tuple[int, ...]) -> Any:
    import ml_dtypes  # noqa: F401  makes numpy know the names bfloat16 and float8_*
    import numpy as np

    return np.frombuffer(data, np.dtype(dtype)).reshape(shape) if len(data) else np.empty(shape, np.dtype(dtype))
