"""The header of one GGUF file: key/value metadata and tensor infos, read straight from mapped bytes.

Layout, little-endian (ggml docs/gguf.md): magic "GGUF", u32 version, i64 tensor count, i64 key count; per key a
string (u64 length, bytes), u32 type, value; per tensor its name, u32 dimension count, u64 dimensions (innermost
first), u32 type, u64 offset; padding to `general.alignment`; the data. The rules are those of ggml/src/gguf.cpp and
of llama.cpp's loader. On top of them stand four limits that keep time and memory bounded whatever the file says.
Long arrays (a vocabulary) are only walked over here; `Metadata` decodes one when it is asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from localq.checkpoints.mapped import DAMAGED, shown
from localq.errors import CheckpointError, UnsupportedError
from localq.formats.ggml_types import GGML_TYPES, GGMLType

MAX_KEY_BYTES = 65535  # the specification's limit
MAX_NAME_BYTES = 63  # GGML_MAX_NAME less the closing zero
MAX_STRING_BYTES = 1 << 26  # a whole tokenizer.json inside one value is 33 MB for the largest vocabularies
MAX_STRINGS = 1 << 22  # over all string arrays of a file; the largest vocabularies have 0.8 million with merges
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 17
MAX_DIMS = 4
INT64_MAX = (1 << 63) - 1

STRING, ARRAY, BOOL, UINT32 = 8, 9, 7, 4
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
KIND_NAMES = ("u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64")
WIDTHS = {kind: struct.calcsize(code) for kind, code in SCALARS.items()}

_U32, _U64, _COUNTS = struct.Struct("<I"), struct.Struct("<Q"), struct.Struct("<qq")

_REMOVED = {4: "q4_2", 5: "q4_3", 31: "q4_0_4_4", 32: "q4_0_4_8", 33: "q4_0_8_8"}
_REMOVED |= {36: "iq4_nl_4_4 (bitnet.cpp: i2_s)", 37: "iq4_nl_4_8", 38: "iq4_nl_8_8"}
_ACTIVATIONS = {9: "q8_1", 15: "q8_k"}
_THIRD_PARTY = {
    **{133: "q6_0", 134: "iq1_bn", 135: "iq2_bn", 137: "iq2_k", 138: "iq3_k", 139: "iq4_k", 140: "iq5_k"},
    **{141: "iq6_k", 142: "PrismML pq2_0", 143: "PrismML ptq1_0", 144: "iq4_ks", 145: "iq2_ks", 146: "iq4_kss"},
    **{152: "iq5_ks", 153: "iq2_kt", 154: "iq3_kt", 155: "iq4_kt", 156: "iq3_ks", 157: "iq2_kl", 158: "iq1_kt"},
}


class GGUFTensor(NamedTuple):
    """One stored tensor: `offset` counts from the start of file number `file`."""

    name: str
    shape: tuple[int, ...]  # outermost first: [..., out_features, in_features]
    type: GGMLType
    offset: int
    nbytes: int
    file: int


class Header(NamedTuple):
    """What one GGUF file says before its data."""

    version: int
    metadata: Metadata
    tensors: dict[str, GGUFTensor]
    alignment: int
    data_start: int


class Metadata(Mapping[str, Any]):
    """The key/value pairs of a GGUF file; a value is decoded when it is first asked for.

    Scalars are int, float, bool or str, arrays are lists. `kind` and `length` tell about a value without decoding.
    A string that is not UTF-8 raises `CheckpointError` when it is read.
    """

    def __init__(self, buffer: memoryview, path: str, values: dict[str, tuple[int, int, int]]) -> None:
        self._buffer = buffer
        self._path = path
        self._values = values  # key -> kind, count (-1 for a scalar), offset of the first element
        self._decoded: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._decoded:
            kind, count, at = self._values[key]
            self._decoded[key] = self._decode(key, kind, count, at)
        return self._decoded[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def kind(self, key: str) -> str:
        """Type of a value as GGUF names it: "u32", "string", "array[f32]"."""
        kind, count, _ = self._values[key]
        return KIND_NAMES[kind] if count < 0 else f"array[{KIND_NAMES[kind]}]"

    def length(self, key: str) -> int:
        """Number of elements of an array, without decoding it; 1 for a scalar."""
        count = self._values[key][1]
        return 1 if count < 0 else count

    def _decode(self, key: str, kind: int, count: int, at: int) -> Any:
        if count < 0:
            return self._elements(key, kind, 1, at)[0]
        return self._elements(key, kind, count, at)

    def _elements(self, key: str, kind: int, count: int, at: int) -> list[Any]:
        if kind == STRING:
            return self._strings(key, count, at)
        return list(struct.unpack_from(f"<{count}{SCALARS[kind]}", self._buffer, at))

    def _strings(self, key: str, count: int, at: int) -> list[str]:
        buffer, length_at, out = self._buffer, _U64.unpack_from, []
        try:
            for _ in range(count):
                end = at + 8 + length_at(buffer, at)[0]
                out.append(str(buffer[at + 8 : end], "utf-8"))
                at = end
        except UnicodeDecodeError:
            raise CheckpointError(
                f"{self._path}: string {len(out)} of key {shown(key)} is not UTF-8 text.", DAMAGED
            ) from None
        return out


def read_header(buffer: memoryview, path: str, file: int = 0) -> Header:
    """Read and check the header of one GGUF file; no weight is touched.

    Args:
        buffer: the whole file; its length bounds everything the header may claim.
        path: named in messages.
        file: number of this file among the shards, written into every `GGUFTensor`.

    Raises:
        CheckpointError: the file breaks a rule of the container.
        UnsupportedError: another byte order, version or tensor type than localq reads.
    """
    return HeaderReader(buffer, path, file).header()


class HeaderReader:
    """A cursor over the mapped bytes; every step is checked against the end of the file.

    `reach`, `pass_value` and `pass_strings` are where a file that is not all here has its bytes fetched.
    """

    def __init__(self, buffer: memoryview, path: str, file: int) -> None:
        self.buffer, self.path, self.file = buffer, path, file
        self.size = len(buffer)
        self.at = 0
        self.strings_left = MAX_STRINGS

    def reach(self, end: int) -> None:
        """The bytes before `end` are about to be read."""

    def pass_value(self, key: str, nbytes: int) -> None:
        """The value of `key` is the next `nbytes` bytes, and is about to be stepped over."""

    def pass_strings(self, count: int) -> int:
        """Where `count` strings end; a loop without checks, because a step too long ends it by itself."""
        buffer, at, length_at = self.buffer, self.at, _U64.unpack_from
        try:
            for _ in range(count):
                at += 8 + length_at(buffer, at)[0]
        except (struct.error, OverflowError):
            return self.size + 1
        return at

    def header(self) -> Header:
        version = self.version()
        n_tensors, n_keys = self.take(_COUNTS, "the counts")
        self.check_count(n_keys, MAX_KEYS, 13, "keys")
        self.check_count(n_tensors, MAX_TENSORS, 24, "tensors")
        metadata = Metadata(self.buffer, self.path, self.values(n_keys))
        alignment = self.alignment(metadata)
        infos = self.infos(n_tensors)
        data_start = _padded(self.at, alignment)
        return Header(version, metadata, self.place(infos, data_start, alignment), alignment, data_start)

    def fail(self, what: str, hint: str = DAMAGED) -> CheckpointError:
        return CheckpointError(f"{self.path}: {what}", hint)

    def take(self, form: struct.Struct, what: str) -> Any:
        """Unpack one fixed-size group and step over it."""
        if self.size - self.at < form.size:
            raise self.fail(
                f"the file ends inside {what}: {form.size} bytes expected at offset {self.at}, "
                f"{max(self.size - self.at, 0)} left."
            )
        self.reach(self.at + form.size)
        values = form.unpack_from(self.buffer, self.at)
        self.at += form.size
        return values if len(values) > 1 else values[0]

    def text(self, limit: int, what: str) -> str:
        """A length and that many bytes of UTF-8."""
        length = self.take(_U64, f"the length of {what}")
        if length > limit:
            raise self.fail(f"{what} claims {length} bytes; at most {limit} are allowed.")
        if length > self.size - self.at:
            raise self.fail(f"{what} claims {length} bytes, {self.size - self.at} are left in the file.")
        self.reach(self.at + length)
        start, self.at = self.at, self.at + length
        try:
            return str(self.buffer[start : self.at], "utf-8")
        except UnicodeDecodeError:
            raise self.fail(f"{what} is not UTF-8 text.") from None

    def check_count(self, count: int, limit: int, smallest: int, what: str) -> None:
        """Refuse a count before anything is sized by it; `smallest` is the least one entry can take."""
        if count < 0 or count * smallest > self.size - self.at:
            raise self.fail(f"the header claims {count} {what}; the {self.size} bytes of the file cannot hold them.")
        if count > limit:
            raise self.fail(f"the header claims {count} {what}; localq reads at most {limit}.", "")

    def version(self) -> int:
        version: int
        magic = bytes(self.buffer[:4])
        if magic != b"GGUF":
            raise self.fail(f"a GGUF file starts with the bytes 'GGUF'; this one starts with {magic!r}.")
        self.at = 4
        version = self.take(_U32, "the version")
        if version in (2, 3):
            return version
        if version and version & 0xFFFF == 0:
            raise UnsupportedError(
                f"{self.path}: a big-endian GGUF file (version {version:#010x}).",
                "Convert it with gguf-py's gguf_convert_endian.py, or download the little-endian file.",
            )
        hint = "Convert the model again with a current llama.cpp." if version < 2 else "Update localq."
        raise UnsupportedError(f"{self.path}: GGUF version {version}; localq reads versions 2 and 3.", hint)

    def values(self, count: int) -> dict[str, tuple[int, int, int]]:
        """Walk over all keys, remembering where each value lies."""
        found: dict[str, tuple[int, int, int]] = {}
        for number in range(count):
            key = self.text(MAX_KEY_BYTES, f"key {number}")
            if not key:
                raise self.fail(f"key {number} is empty.")
            if key in found:
                raise self.fail(f"the key {shown(key)} appears twice.")
            kind = self.take(_U32, f"the type of key {shown(key)}")
            found[key] = self.array(key) if kind == ARRAY else self.scalar(key, kind)
        return found

    def scalar(self, key: str, kind: int) -> tuple[int, int, int]:
        at = self.at
        if kind == STRING:
            self.step(self.take(_U64, f"key {shown(key)}"), key, MAX_STRING_BYTES)
        elif kind in WIDTHS:
            self.step(WIDTHS[kind], key)
        else:
            raise self.fail(f"key {shown(key)} has value type {kind}; GGUF defines 0 to 12.")
        return kind, -1, at

    def array(self, key: str) -> tuple[int, int, int]:
        kind = self.take(_U32, f"the element type of {shown(key)}")
        count = self.take(_U64, f"the length of {shown(key)}")
        at = self.at
        if kind == STRING:
            self.skip_strings(key, count)
        elif kind in WIDTHS:
            self.step(count * WIDTHS[kind], key)
        elif kind == ARRAY:
            raise self.fail(f"key {shown(key)} is an array of arrays, which no reader of GGUF accepts.")
        else:
            raise self.fail(f"key {shown(key)} is an array of type {kind}; GGUF defines 0 to 12.")
        return kind, count, at

    def step(self, nbytes: int, key: str, limit: int = INT64_MAX) -> None:
        if nbytes > self.size - self.at:
            raise self.fail(f"the value of {shown(key)} claims {nbytes} bytes, {self.size - self.at} are left.")
        if nbytes > limit:
            raise self.fail(f"the value of {shown(key)} is {nbytes} bytes long; localq reads at most {limit}.", "")
        self.pass_value(key, nbytes)
        self.at += nbytes

    def skip_strings(self, key: str, count: int) -> None:
        """Step over `count` strings."""
        self.check_count(count, self.strings_left, 8, f"strings in {shown(key)}")
        self.strings_left -= count
        at = self.pass_strings(count)
        if at > self.size:
            raise self.fail(f"the file ends inside the strings of {shown(key)}.")
        self.at = at

    def alignment(self, metadata: Metadata) -> int:
        key = "general.alignment"
        if key not in metadata:
            return 32
        if metadata.kind(key) != "u32":
            raise self.fail(f"{key} is of type {metadata.kind(key)}; u32 is expected.")
        value: int = metadata[key]
        if value == 0 or value & (value - 1):
            raise self.fail(f"{key} is {value}; a power of two is expected.")
        return value

    def infos(self, count: int) -> list[tuple[str, tuple[int, ...], GGMLType, int]]:
        """All tensor infos: name, shape (outermost first), type, offset from the start of the data."""
        found = []
        for number in range(count):
            name = self.text(MAX_NAME_BYTES, f"the name of tensor {number}")
            if not name:
                raise self.fail(f"tensor {number} has no name.")
            n_dims = self.take(_U32, f"tensor {shown(name)}")
            if n_dims > MAX_DIMS:
                raise self.fail(f"tensor {shown(name)} claims {n_dims} dimensions; GGUF allows at most {MAX_DIMS}.")
            dims = [self.take(_U64, f"the shape of {shown(name)}") for _ in range(n_dims)]
            kind = self.ggml_type(name, self.take(_U32, f"the type of {shown(name)}"))
            offset = self.take(_U64, f"the offset of {shown(name)}")
            found.append((name, tuple(reversed(dims)), kind, offset))
        return found

    def ggml_type(self, name: str, number: int) -> GGMLType:
        known = GGML_TYPES.get(number)
        if known:
            return known
        where = f"{self.path}: tensor {shown(name)} has type {number}"
        if number in _ACTIVATIONS:
            raise UnsupportedError(f"{where} ({_ACTIVATIONS[number]}), which ggml uses for activations only.", DAMAGED)
        if number in _REMOVED:
            raise UnsupportedError(
                f"{where} ({_REMOVED[number]}), which ggml has removed.", "Download a current file of this model."
            )
        if number in _THIRD_PARTY:
            raise UnsupportedError(
                f"{where} ({_THIRD_PARTY[number]}), which only a fork of llama.cpp defines.",
                "Use that fork, or a file with ggml's own types.",
            )
        raise UnsupportedError(f"{where}, which ggml does not define.", "The file is damaged or newer than localq.")

    def place(
        self, infos: list[tuple[str, tuple[int, ...], GGMLType, int]], start: int, alignment: int
    ) -> dict[str, GGUFTensor]:
        """Check sizes and offsets: the data must be the tensors in order, each padded, and all inside the file."""
        tensors: dict[str, GGUFTensor] = {}
        expected = 0
        for name, shape, kind, offset in infos:
            if name in tensors:
                raise self.fail(f"the tensor {shown(name)} appears twice.")
            nbytes = self.nbytes(name, shape, kind)
            if offset != expected:
                raise self.fail(
                    f"tensor {shown(name)} of type {kind.name} starts at {offset} of the data; {expected} is expected "
                    "(tensors lie one after another, padded).",
                    "Early third-party q2_0 files used another block size under this type: get a current one."
                    if any(t.type.name == "q2_0" for t in tensors.values())
                    else DAMAGED,
                )
            if nbytes > self.size - start - offset:
                raise self.fail(
                    f"the data of tensor {shown(name)} ends at byte {start + offset + nbytes}; "
                    f"the file has {self.size} bytes."
                )
            tensors[name] = GGUFTensor(name, shape, kind, start + offset, nbytes, self.file)
            expected = _padded(offset + nbytes, alignment)
        return tensors

    def nbytes(self, name: str, shape: tuple[int, ...], kind: GGMLType) -> int:
        size, bound = 1, 1
        for side in shape:
            size *= side
            bound *= max(side, 1)
        row = shape[-1] if shape else 1
        if row % kind.block:
            raise self.fail(
                f"tensor {shown(name)} has rows of {row} weights; {kind.name} stores blocks of {kind.block}."
            )
        if bound * kind.bytes > INT64_MAX:
            raise self.fail(f"tensor {shown(name)} claims a shape of {shape}, more than any file can hold.")
        return size // kind.block * kind.bytes


def _padded(offset: int, alignment: int) -> int:
    return (offset + alignment - 1) // alignment * alignment
