"""The header of one safetensors file, held to every rule of the format.

Layout: u64 little-endian length of the header; the header, a JSON object starting with `{`: name ->
`{"dtype", "shape", "data_offsets": [begin, end]}`, and `__metadata__`, strings to strings; then the data, which the
tensors must cover without holes or overlaps. Source: the safetensors README and `Metadata::validate`
(safetensors/src/tensor.rs). The format allows headers of 100 MB; localq reads 20 MB (about 150,000 tensors) so that
no header can cost more memory than is decent.
"""

from __future__ import annotations

import struct
import sys
from typing import Any, NamedTuple

from localq.checkpoints.mapped import DAMAGED, shown
from localq.checkpoints.strict_json import read_object
from localq.errors import CheckpointError, UnsupportedError

MAX_HEADER = 20_000_000
FORMAT_MAX_HEADER = 100_000_000
_INT64_MAX = (1 << 63) - 1

# dtype -> bits, and the name numpy (with ml_dtypes) has for it; None where an element is no whole number of bytes
DTYPES: dict[str, tuple[int, str | None]] = {
    **{"BOOL": (8, "bool"), "U8": (8, "uint8"), "I8": (8, "int8"), "U16": (16, "uint16"), "I16": (16, "int16")},
    **{"U32": (32, "uint32"), "I32": (32, "int32"), "U64": (64, "uint64"), "I64": (64, "int64")},
    **{"F16": (16, "float16"), "BF16": (16, "bfloat16"), "F32": (32, "float32"), "F64": (64, "float64")},
    **{"F8_E4M3": (8, "float8_e4m3fn"), "F8_E5M2": (8, "float8_e5m2"), "F8_E8M0": (8, "float8_e8m0fnu")},
    **{"F8_E4M3FNUZ": (8, "float8_e4m3fnuz"), "F8_E5M2FNUZ": (8, "float8_e5m2fnuz"), "C64": (64, "complex64")},
    **{"F4": (4, None), "F6_E2M3": (6, None), "F6_E3M2": (6, None)},
}


class Stored(NamedTuple):
    """One array of a safetensors file: bytes `begin` to `end` of file number `file`."""

    dtype: str  # as the file spells it
    shape: tuple[int, ...]
    begin: int
    end: int
    file: int

    @property
    def nbytes(self) -> int:
        """Stored bytes."""
        return self.end - self.begin


def read_header(buffer: memoryview, path: str, file: int = 0) -> tuple[dict[str, Stored], dict[str, str]]:
    """Arrays by name (in stored order) and the metadata of one safetensors file.

    Raises:
        CheckpointError: the file breaks a rule of the format.
        UnsupportedError: a dtype localq does not know.
    """
    if len(buffer) < 8:
        raise CheckpointError(
            f"{path} has {len(buffer)} bytes; a safetensors file starts with 8 for a length.", DAMAGED
        )
    (length,) = struct.unpack_from("<Q", buffer, 0)
    if length > FORMAT_MAX_HEADER:
        raise CheckpointError(
            f"{path} claims a header of {length} bytes; safetensors allows {FORMAT_MAX_HEADER}.",
            "This is no safetensors file, or a damaged one.",
        )
    if length > len(buffer) - 8:
        raise CheckpointError(f"{path} claims a header of {length} bytes; the file has {len(buffer)}.", DAMAGED)
    text = buffer[8 : 8 + length]
    if bytes(text[:1]) != b"{":
        raise CheckpointError(f"The header of {path} starts with {bytes(text[:1])!r}; '{{' is expected.", DAMAGED)
    entries = read_object(text, f"The header of {path}", MAX_HEADER)
    metadata = _metadata(entries.pop("__metadata__", {}), path)
    start, tensors = 8 + length, {}
    for name in list(entries):  # each entry goes as it is read: 100,000 experts are 100 MB of them
        tensors[name] = _entry(name, entries.pop(name), path, file, start)
    names = sorted(tensors, key=lambda name: tensors[name][2:4])
    _check_cover(tensors, names, start, len(buffer), path)
    return {name: tensors.pop(name) for name in names}, metadata


def _metadata(found: Any, path: str) -> dict[str, str]:
    if found is None:  # `mx.save_safetensors` without metadata writes null, and the reference reader takes it
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise CheckpointError(f"{path}: __metadata__ must be an object of strings.", DAMAGED)
    return found


def _entry(name: str, entry: Any, path: str, file: int, start: int) -> Stored:
    """One tensor's entry, its types, dtype and size checked; `start` is where the data start, offsets count from."""
    where = f"{path}: tensor {shown(name)}"
    if not name or not name.isprintable():
        raise CheckpointError(f"{where} has a name that cannot be printed.", DAMAGED)
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{where} must say dtype, shape and data_offsets and nothing else.", DAMAGED)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise CheckpointError(f"{where} has a dtype, shape or data_offsets of the wrong kind.", DAMAGED)
    if dtype not in DTYPES:
        raise UnsupportedError(
            f"{where} has dtype {shown(dtype)}; localq knows {', '.join(DTYPES)}.", "Update localq, if it is a new one."
        )
    begin, end = offsets
    bits, bound = DTYPES[dtype][0], 1
    for side in shape:
        bound *= max(side, 1)
        if bound > _INT64_MAX:
            raise CheckpointError(f"{where} claims a shape of more values than any file can hold.", DAMAGED)
    total = (0 if 0 in shape else bound) * bits
    if total % 8 or end - begin != total // 8:
        raise CheckpointError(
            f"{where}: {dtype} {tuple(shape)} takes {total / 8:g} bytes; its offsets {begin} to {end} give "
            f"{end - begin}.",
            DAMAGED,
        )
    return Stored(sys.intern(dtype), tuple(shape), begin + start, end + start, file)


def _are_sizes(found: Any) -> bool:
    return isinstance(found, list) and all(type(n) is int and 0 <= n <= _INT64_MAX for n in found)


def _check_cover(tensors: dict[str, Stored], names: list[str], start: int, size: int, path: str) -> None:
    """The arrays, by `names` in their order, must follow each other without a gap and end where the file ends."""
    expected = start
    for name in names:
        stored = tensors[name]
        if stored.begin != expected:
            fault = "overlaps another tensor" if stored.begin < expected else "leaves a hole before it"
            raise CheckpointError(
                f"{path}: tensor {shown(name)} {fault}: it begins at {stored.begin - start}, "
                f"{expected - start} is expected.",
                DAMAGED,
            )
        expected = stored.end
    if expected != size:
        raise CheckpointError(
            f"{path}: the tensors take {expected - start} bytes of data; the file has {size - start}.", DAMAGED
        )
