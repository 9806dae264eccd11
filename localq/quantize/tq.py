"""A folder of float weights as a folder in tq2, tq3 or tq4, localq's own format (localq/formats/tq.py).

    from localq.quantize.tq import quantize_folder
    report = quantize_folder("Qwen3-4B", "Qwen3-4B-tq4", "tq4")
    report.written, report.kept, report.error          # tensors of each kind, largest relative error of a matrix

Packed are matrices of linear layers (also experts) whose rows are multiples of 128; embeddings, output heads, routers,
norms and biases stay in their own dtype. One tensor is in memory at a time. The folder is written beside its place and
renamed when it is whole, and read back first: nobody finds half a model.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from localq.checkpoints import Checkpoint, open_checkpoint
from localq.checkpoints.safetensors_writer import SHARD_BYTES, Planned, write_shards
from localq.errors import CheckpointError, UnsupportedError, UsageError
from localq.formats import find
from localq.formats.base import Format
from localq.formats.tq import GROUP

FORMATS = ("tq2", "tq3", "tq4")
# Tables, heads and routers: few weights, or ones whose rounding moves every token.
_KEPT = re.compile(r"(^|\.)(\w*embed\w*|wte|wpe|lm_head|output|gate|router|\w*_gate|\w*router\w*)\.weight$")


@dataclass
class Report:
    """What was written: names of packed and kept tensors, and per matrix |W' - W| / |W| (Frobenius norms)."""

    written: dict[str, float]
    kept: list[str]
    files: list[str]

    @property
    def error(self) -> float:
        """The largest relative error."""
        return max(self.written.values(), default=0.0)


def quantize_folder(
    source: str | os.PathLike[str], target: str | os.PathLike[str], form: str = "tq4", shard_bytes: int = SHARD_BYTES
) -> Report:
    """Write the checkpoint `source` (safetensors, floats) to the new folder `target`.

    Raises:
        UsageError: no such format, or `target` exists.
        UnsupportedError: `source` is packed already, or holds no matrix that can be packed.
        CheckpointError: a weight is not finite, or what was written does not read back.
    """
    if form not in FORMATS:
        raise UsageError(f"'{form}' is none of {', '.join(FORMATS)}.")
    place = Path(target)
    if place.exists():
        raise UsageError(f"{place} exists.", "Name a folder that does not, or remove that one first.")
    beside = place.with_name(f".{place.name}.partial-{os.getpid()}")
    kind = find(form)
    assert kind is not None
    with open_checkpoint(source) as checkpoint:
        _check(checkpoint)
        beside.mkdir(parents=True)
        try:
            report = _write(checkpoint, beside, kind, shard_bytes)
            _read_back(beside, report, form)
            os.rename(beside, place)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    return report


def _check(checkpoint: Checkpoint) -> None:
    packed = next((spec for spec in checkpoint.specs.values() if spec.format not in ("f32", "f16", "bf16")), None)
    if checkpoint.container != "safetensors" or checkpoint.config is None:
        raise UnsupportedError(f"{checkpoint.path} is no safetensors folder with a config.json.")
    if packed is not None and len(packed.shape) > 1:
        raise UnsupportedError(
            f"{checkpoint.path}: '{packed.name}' is packed already ({packed.format}).",
            "Take the original in bf16, f16 or f32: quantising twice loses twice.",
        )
    if not any(_is_packed(spec.name, spec.shape) for spec in checkpoint.specs.values()):
        raise UnsupportedError(f"{checkpoint.path} holds no matrix of rows that are multiples of {GROUP}.")


def _is_packed(name: str, shape: tuple[int, ...]) -> bool:
    whole = len(shape) in (2, 3) and shape[-1] % GROUP == 0 and name.endswith(".weight") and shape[-2] > 1
    return whole and _KEPT.search(name) is None and "norm" not in name.split(".")[-2]


def _write(checkpoint: Checkpoint, folder: Path, kind: type[Format], shard_bytes: int) -> Report:
    report = Report({}, [], [])
    planned = []
    for name, spec in checkpoint.specs.items():
        if _is_packed(name, spec.shape):
            layout = kind.layout(spec.shape)
            stem = name.removesuffix("weight")
            arrays = tuple((f"{stem}{part}", at.dtype, at.shape) for part, at in layout.items())
            planned.append(Planned(arrays, _packing(checkpoint, name, kind, report)))
        else:
            report.kept.append(name)
            planned.append(_copy(checkpoint, name))
    report.files += write_shards(str(folder), planned, shard_bytes)
    for name, path in checkpoint.files.items():
        if name != "config.json" and not name.endswith(".index.json"):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, folder / name)
    config = {**(checkpoint.config or {}), "quantization_config": {"quant_method": "tq", "bits": int(kind.bits)}}
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return report


def _packing(checkpoint: Checkpoint, name: str, kind: type[Format], report: Report) -> Any:
    def make() -> list[Any]:
        weights = checkpoint[name].dequantize()
        try:
            t = kind.quantize(weights)
        except Exception as error:
            raise CheckpointError(f"{checkpoint.path}: '{name}': {error}") from error
        size = float(np.linalg.norm(weights))
        report.written[name] = float(np.linalg.norm(t.dequantize() - weights)) / size if size else 0.0
        return [t.parts[part] for part in kind.layout(t.shape)]

    return make


def _copy(checkpoint: Checkpoint, name: str) -> Planned:
    t = checkpoint[name]
    (part,) = t.parts.values()
    return Planned(((name, part.dtype.name, part.shape),), lambda: [checkpoint[name].parts["weight"]])


def _read_back(folder: Path, report: Report, form: str) -> None:
    """Headers, settings and scales of every tensor, by the reader everybody uses."""
    with open_checkpoint(folder) as again:
        found = {name for name, spec in again.specs.items() if spec.format == form}
        for name in found:
            _ = again[name]
        if again.unsupported or found != set(report.written) or set(again.specs) != found | set(report.kept):
            raise CheckpointError(f"{folder} does not read back as written: {again.unsupported or again.formats}.")
