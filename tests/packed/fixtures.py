"""Fixtures of peers' packers: one linear layer each, opened as a checkpoint and compared with the peer's decode."""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from safetensors import deserialize
from safetensors.numpy import save_file

from localq.checkpoints import open_checkpoint
from localq.errors import UnsupportedError
from localq.formats.base import PackedTensor
from tests.packed.rawfile import save

DATA = Path(__file__).parent / "data"
NAME = "model.layers.0.mlp.up_proj"


_DTYPES = {
    **{"F32": np.float32, "F16": np.float16, "I8": np.int8, "U8": np.uint8, "I16": np.int16, "U16": np.uint16},
    **{"I32": np.int32, "U32": np.uint32, "I64": np.int64, "BF16": ml_dtypes.bfloat16, "F64": np.float64},
    **{"F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E8M0": ml_dtypes.float8_e8m0fnu},
}


class Variant(NamedTuple):
    """What a generator in tools/fixtures wrote for one variant."""

    parts: dict[str, np.ndarray]
    config: dict[str, Any]
    sha256: str  # of the decoded float32 weights [out, in], zeros positive
    shape: tuple[int, ...]
    rows: np.ndarray  # the first columns of the first and the last row of them


def files() -> list[str]:
    """All fixture files, without the ending of their compression."""
    return sorted(path.stem for path in DATA.glob("*.safetensors.xz"))


@cache
def stored(file: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a fixture file by name, and the notes of its header."""
    whole = lzma.decompress((DATA / f"{file}.xz").read_bytes())
    size = int.from_bytes(whole[:8], "little")
    notes = json.loads(whole[8 : 8 + size])["__metadata__"]
    tensors = {
        name: np.frombuffer(value["data"], _DTYPES[value["dtype"]]).reshape(value["shape"])
        for name, value in sorted(deserialize(whole))  # numpy's own reader knows no 8-bit floats
    }
    return tensors, {name: json.loads(text) for name, text in sorted(notes.items())}


@cache
def variants(file: str) -> dict[str, Variant]:
    """Every variant of one fixture file."""
    tensors, notes = stored(file)
    found: dict[str, dict[str, np.ndarray]] = {name: {} for name in notes}
    for key, value in tensors.items():
        name, part = key.split(".", 1)
        found[name][part] = value
    return {
        name: Variant(
            parts, notes[name]["config"], notes[name]["sha256"], tuple(notes[name]["shape"]), parts.pop("rows")
        )
        for name, parts in found.items()
    }


def write(folder: Path, parts: dict[str, np.ndarray], config: dict[str, Any] | None, name: str = NAME) -> Path:
    """A folder with this one module, as a quantiser would leave it."""
    save_file({f"{name}.{part}": array for part, array in parts.items()}, folder / "model.safetensors")
    whole = {"model_type": "llama"} | ({} if config is None else {"quantization_config": config})
    (folder / "config.json").write_text(json.dumps(whole))
    return folder


def read(folder: Path, parts: dict[str, np.ndarray], config: dict[str, Any] | None) -> PackedTensor:
    """This module read back by localq."""
    with open_checkpoint(write(folder, parts, config)) as checkpoint:
        assert checkpoint.unsupported is None, checkpoint.unsupported
        return checkpoint[f"{NAME}.weight"]


def loaded(folder: Path, parts: Mapping[str, Any], config: dict[str, Any]) -> PackedTensor:
    """As `read`, also of dtypes that safetensors' numpy side has not; a part that is None is left out.

    Raises:
        UnsupportedError: localq says that it does not run it.
    """
    save(folder / "model.safetensors", {f"{NAME}.{n}": a for n, a in parts.items() if a is not None})
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": config}))
    with open_checkpoint(folder) as checkpoint:
        if checkpoint.unsupported:
            raise UnsupportedError(checkpoint.unsupported)
        return checkpoint[f"{NAME}.weight"]


def digest(weights: np.ndarray) -> str:
    """SHA-256 as in the fixtures."""
    return hashlib.sha256((np.ascontiguousarray(weights, "<f4") + np.float32(0)).tobytes()).hexdigest()


def shown(weights: np.ndarray) -> np.ndarray:
    """The part of decoded weights that fixtures keep."""
    return weights[[0, -1], :16]


def assert_same(t: PackedTensor, variant: Variant) -> None:
    """Shape and every bit of the decoded weights are the peer's."""
    weights = t.dequantize()
    assert t.shape == weights.shape == variant.shape and weights.dtype == np.float32
    np.testing.assert_array_equal(shown(weights), variant.rows)
    assert digest(weights) == variant.sha256
