"""A safetensors writer, by the published layout, for dtypes that safetensors' numpy side has not: 8-bit floats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

_NAMES = {
    **{
        "float8_e4m3fn": "F8_E4M3",
        "float8_e5m2": "F8_E5M2",
        "float8_e8m0fnu": "F8_E8M0",
        "bfloat16": "BF16",
        "float16": "F16",
        "float32": "F32",
        "float64": "F64",
    },
    **{"uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "uint32": "U32", "int64": "I64", "uint16": "U16"},
}


def save(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` in their order."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    data, end = [], 0
    for name, array in tensors.items():
        data.append(np.ascontiguousarray(array).tobytes())
        ends = [end, end + len(data[-1])]
        header[name] = {"dtype": _NAMES[array.dtype.name], "shape": list(array.shape), "data_offsets": ends}
        end = ends[1]
    text = json.dumps(header).encode()
    path.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *data]))


def load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that `save` wrote."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    names, found = {name: kind for kind, name in _NAMES.items()}, {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            first, last = (8 + size + end for end in entry["data_offsets"])
            kind = np.dtype(getattr(ml_dtypes, names[entry["dtype"]], names[entry["dtype"]]))
            found[name] = np.frombuffer(data[first:last], kind).reshape(entry["shape"])
    return found
