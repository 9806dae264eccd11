"""What a checkpoint is, whatever the container: named packed tensors, a config, and nothing that is executed.

This module and the header readers beside it import no numpy: `localq explain` must start like bare Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.formats.base import PackedTensor


class TensorSpec(NamedTuple):
    """What the headers say about one tensor, before any weight is read."""

    name: str  # Hugging Face name
    format: str  # name in FORMATS
    shape: tuple[int, ...]  # logical, [..., out_features, in_features]
    nbytes: int  # stored bytes, scales included


class Checkpoint:
    """A lazily opened, memory-mapped checkpoint; iterating gives tensor names.

    Attributes:
        path: what was opened (a directory or a file, as a string).
        container: "gguf" or "safetensors".
        architecture: Hugging Face `model_type` ("llama", "qwen3_moe"), None when the container holds no model.
        config: a Hugging Face style config (also for GGUF, built from its keys), None when there is none.
        metadata: the container's own key/value pairs, lazy for long arrays.
        specs: name -> `TensorSpec`, from the headers alone.
        unsupported: why localq cannot run this checkpoint although its container is valid (an unknown
            architecture or packing), None where it can. Whoever loads a model must refuse with this sentence;
            headers can be read all the same, but shapes are then the stored ones.
        unused: stored name -> why localq needs no such array (scales of activations or of the KV cache).
        files: name -> path of the other files of the checkpoint (config, tokenizer, templates); empty for GGUF.

    Readers subclass it and define `__getitem__`, `raw` and `close`.
    """

    path: str
    container: str
    architecture: str | None
    config: dict[str, Any] | None
    metadata: Mapping[str, Any]
    specs: Mapping[str, TensorSpec]
    unsupported: str | None = None
    unused: Mapping[str, str] = {}
    files: Mapping[str, str] = {}

    def __getitem__(self, name: str) -> PackedTensor:
        """The tensor under its Hugging Face name, its parts views of the mapped file.

        Raises:
            NotFoundError: no tensor of that name.
            CheckpointError: the stored parts contradict the format.
        """
        raise TypeError(f"{type(self).__name__} reads no tensors")

    def raw(self, name: str) -> tuple[memoryview, str]:
        """Stored bytes and stored type of a tensor, by the container's own name, untouched."""
        raise TypeError(f"{type(self).__name__} reads no tensors")

    def file(self, name: str) -> bytes | None:
        """Content of one of `files` ("tokenizer.json"), None where the checkpoint has no such file.

        Raises:
            CheckpointError: larger than 64 MiB, the bound for any text file of a checkpoint.
        """
        path = self.files.get(name)
        if path is None:
            return None
        from localq.checkpoints.mapped import read_file

        return read_file(path, 1 << 26)

    def close(self) -> None:
        """Unmap the files; arrays taken out of the checkpoint keep their mapping alive."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)

    def __contains__(self, name: object) -> bool:
        return name in self.specs

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def formats(self) -> dict[str, int]:
        """Format name -> number of tensors, most frequent first."""
        counts: dict[str, int] = {}
        for spec in self.specs.values():
            counts[spec.format] = counts.get(spec.format, 0) + 1
        return dict(sorted(counts.items(), key=lambda kv: (-kv[1], kv[0])))

    @property
    def text_specs(self) -> dict[str, TensorSpec]:
        """`specs` without the parts of a multimodal checkpoint that see or hear, which localq does not run."""
        from localq.checkpoints.towers import of_tower

        return {name: spec for name, spec in self.specs.items() if not of_tower(name)}

    @property
    def nbytes(self) -> int:
        """Stored bytes of all tensors."""
        return sum(spec.nbytes for spec in self.specs.values())

    @property
    def parameters(self) -> int:
        """Number of weights, each stored tensor counted once."""
        total = 0
        for spec in self.specs.values():
            count = 1
            for side in spec.shape:
                count *= side
            total += count
        return total

    @property
    def bits_per_weight(self) -> float:
        """Real bits per weight over all tensors, scales included."""
        return 8 * self.nbytes / max(self.parameters, 1)
