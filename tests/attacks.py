"""Hostile checkpoints as code: each is a few files, the one to open, and what the refusal must say.

The GGUF part follows the faults found in the readers of llama.cpp, MLX, gguf-py, Ollama and openvino.genai; the
numbers beside an attack are the public reports. `tests/attacks_safetensors.py` holds the cousins.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

U8, I8, U32, I32, F32_VALUE, STRING, ARRAY, U64 = 0, 1, 4, 5, 6, 8, 9, 10
F32, Q4_0, Q4_K, TYPE_I8 = 0, 2, 12, 24


class Attack(NamedTuple):
    """Files to write (name -> bytes, or a size for a hole of zeros after the bytes), which to open, what is said."""

    name: str
    files: dict[str, bytes]
    says: str  # a regular expression the message must contain
    opens: str = ""  # "" opens the only file, "." the folder
    grow: int = 0  # the opened file is lengthened to this size by a hole

    def write(self, folder: Path) -> Path:
        """Write the files into `folder`; the path to open."""
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        path = folder / (self.opens or next(iter(self.files)))
        if self.grow:
            with path.open("r+b") as file:
                file.truncate(self.grow)
        return path


def text(value: bytes | str) -> bytes:
    """A GGUF string: length and bytes."""
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: bytes | str, kind: int, value: bytes) -> bytes:
    """One key/value pair, its value already packed."""
    return text(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, content: bytes = b"") -> bytes:
    """The value of an array key."""
    return struct.pack("<IQ", kind, count) + content


def info(name: bytes | str, dims: tuple[int, ...], kind: int = F32, offset: int = 0) -> bytes:
    """One tensor info; `dims` as stored, innermost first."""
    sides = b"".join(struct.pack("<Q", side) for side in dims)
    return text(name) + struct.pack("<I", len(dims)) + sides + struct.pack("<IQ", kind, offset)


ARCHITECTURE = key("general.architecture", STRING, text("llama"))


def gguf(
    keys: list[bytes] | None = None,
    infos: list[bytes] | None = None,
    data: bytes = b"",
    counts: tuple[int | None, int | None] = (None, None),
    version: int = 3,
) -> bytes:
    """A GGUF file; `counts` lies about the number of tensors and keys."""
    keys, infos = [ARCHITECTURE] if keys is None else keys, infos or []
    n_tensors, n_keys = counts
    head = struct.pack(
        "<4sIqq",
        b"GGUF",
        version,
        len(infos) if n_tensors is None else n_tensors,
        len(keys) if n_keys is None else n_keys,
    )
    head += b"".join(keys + infos)
    return head + bytes(-len(head) % 32) + data if infos else head + data


def shard(number: int, count: int, tensors: int, names: tuple[str, ...], kind: str = "<H") -> bytes:
    """One shard of a split GGUF, with one f32 tensor of 8 weights per name."""
    keys = [
        ARCHITECTURE,
        key("split.no", 2, struct.pack("<H", number)),
        key("split.count", 2, struct.pack(kind, count)),
        key("split.tensors.count", I32, struct.pack("<i", tensors)),
    ]
    infos = [info(name, (8,), F32, 32 * i) for i, name in enumerate(names)]
    return gguf(keys, infos, bytes(32 * len(names)))


def gguf_attacks() -> Iterator[Attack]:
    """Every attack on the GGUF container."""
    for name, data, says in (*_heads(), *_keys(), *_arrays(), *_tensors(), *_placing()):
        yield Attack(name, {"x.gguf": data}, says)
    yield from _holes()
    yield from _splits()


def _heads() -> Iterator[tuple[str, bytes, str]]:
    yield "empty file", b"", "empty"
    yield "three bytes", b"GGU", "starts with"
    yield "another magic", b"GGUX" + gguf()[4:], "starts with"
    for magic, says in ((b"lmgg", "GGML"), (b"fmgg", "GGMF"), (b"tjgg", "GGJT")):
        yield f"old magic {says}", magic + bytes(60), says
    yield "no version", b"GGUF", "ends inside the version"
    for version in (0, 1, 4, 1 << 31 | 1):  # mx.load accepts 0, 1 and 4
        yield f"version {version}", gguf(version=version), f"GGUF version {version};"
    yield "big-endian", b"GGUF" + struct.pack(">Iqq", 3, 0, 0), "big-endian"
    yield "counts cut off", gguf()[:20], "ends inside the counts"
    for count in (-1, 10**9, 1 << 62, -(1 << 63)):  # mx.load crashes: mlx #4213
        yield f"{count} tensors", gguf(counts=(count, None)), f"claims {count} tensors"
        yield f"{count} keys", gguf(counts=(None, count)), f"claims {count} keys"
    yield "one key too many", gguf(counts=(None, 2)), "ends inside|cannot hold"


def _keys() -> Iterator[tuple[str, bytes, str]]:
    def one(raw: bytes) -> bytes:
        return gguf([ARCHITECTURE, raw], data=bytes(64))

    yield "empty key", one(key("", U32, bytes(4))), "empty"  # llama.cpp #24884
    yield "duplicate key", gguf([ARCHITECTURE, ARCHITECTURE]), "twice"
    yield "key not UTF-8", one(key(b"\xff\xfe", U32, bytes(4))), "UTF-8"
    yield "key of 70000 bytes", one(key("k" * 70000, U32, bytes(4))), "at most 65535"
    for length in (1 << 63, (1 << 64) - 1, (1 << 64) - 8, 1 << 30):  # ggml #1516, mlx #4212
        yield f"key length {length}", one(struct.pack("<Q", length)), f"claims {length} bytes"
        yield f"string length {length}", one(key("a", STRING, struct.pack("<Q", length))), f"claims {length} bytes"
    yield "string past the end", gguf([key("a", STRING, struct.pack("<Q", 9) + b"12345678")]), "claims 9 bytes"
    for kind in (13, 0xFFFFFFFF, 0x80000000):  # a negative type: llama.cpp #19856
        yield f"value type {kind}", one(key("a", kind, bytes(8))), f"value type {kind}"
    yield "value cut off", gguf([key("a", U64, bytes(7))]), "claims 8 bytes"
    yield "architecture is a number", gguf([key("general.architecture", U32, bytes(4))]), "string is expected"
    yield "architecture is an array", gguf([key("general.architecture", ARRAY, array(STRING, 0))]), "array"
    yield "architecture is empty", gguf([key("general.architecture", STRING, text(""))]), "short name"
    yield "architecture of a megabyte", gguf([key("general.architecture", STRING, text("l" * 10**6))]), "short name"
    yield "architecture not UTF-8", gguf([key("general.architecture", STRING, text(b"\xc3("))]), "not UTF-8"
    yield "architecture with escapes", gguf([key("general.architecture", STRING, text("\x1b[31m"))]), "short name"
    tensor = [info("t", (8,))]
    for value in (0, 3, 48):  # mx.load crashes on 0 and accepts 3
        keys = [ARCHITECTURE, key("general.alignment", U32, struct.pack("<I", value))]
        yield f"alignment {value}", gguf(keys, tensor, bytes(32)), "power of two"
    keys = [ARCHITECTURE, key("general.alignment", STRING, text("32"))]
    yield "alignment is a string", gguf(keys, tensor, bytes(32)), "u32 is expected"
    keys = [ARCHITECTURE, key("general.alignment", U64, struct.pack("<Q", 32))]
    yield "alignment is u64", gguf(keys, tensor, bytes(32)), "u32 is expected"
    keys = [ARCHITECTURE, key("general.alignment", U32, struct.pack("<I", 1 << 30))]  # ggml #1516, llama.cpp #26318
    yield "alignment 2^30", gguf(keys, tensor, bytes(32)), "ends at byte"


def _arrays() -> Iterator[tuple[str, bytes, str]]:
    def one(value: bytes) -> bytes:
        return gguf([ARCHITECTURE, key("a", ARRAY, value)])

    for count in (10**9, 1 << 61, 1 << 62, (1 << 64) - 1):  # gguf-py hangs; llama.cpp #19856
        yield f"{count} numbers", one(array(U8, count, bytes(64))), "claims"
        yield f"{count} strings", one(array(STRING, count, bytes(64))), f"claims {count} strings"
    nested = array(U32, 1, bytes(4))
    yield "array of arrays", one(array(ARRAY, 1, nested)), "array of arrays"
    for _ in range(2000):  # RecursionError in gguf-py
        nested = array(ARRAY, 1, nested)
    yield "deep arrays", one(nested), "array of arrays"
    for kind in (13, 0xFFFFFFFF):
        yield f"array of type {kind}", one(array(kind, 1, bytes(8))), f"array of type {kind}"
    for length in (1 << 63, (1 << 64) - 8, (1 << 64) - 16, 65):
        strings = text("ok") + struct.pack("<Q", length) + bytes(64)
        yield f"string of {length} in an array", one(array(STRING, 3, strings)), "ends inside the strings"
    yield "last string past the end", one(array(STRING, 1, struct.pack("<Q", 5) + b"1234")), "ends inside the strings"


def _tensors() -> Iterator[tuple[str, bytes, str]]:
    def one(raw: bytes, data: bytes = bytes(64)) -> bytes:
        return gguf(infos=[raw], data=data)

    yield "name of 64 bytes", one(info("n" * 64, (8,))), "at most 63"
    yield "no name", one(info("", (8,))), "no name"
    yield "name not UTF-8", one(info(b"\xff", (8,))), "UTF-8"
    yield "duplicate name", gguf(infos=[info("t", (8,)), info("t", (8,), F32, 32)], data=bytes(64)), "twice"
    yield "five dimensions", one(info("t", (1, 1, 1, 1, 1))), "claims 5 dimensions"  # mlx #3358
    for n_dims in (1 << 31, 0xFFFFFFFF):
        yield f"{n_dims} dimensions", one(text("t") + struct.pack("<I", n_dims) + bytes(64)), f"claims {n_dims}"
    yield "negative dimension", one(info("t", (1 << 63,))), "more than any file"
    yield "dimension of zero and a huge one", one(info("t", (0, (1 << 64) - 1))), "more than any file"
    yield "product wraps to 0", one(info("t", (1 << 32, 1 << 32))), "more than any file"  # CVE-2024-21802
    yield "product wraps to 1", one(info("t", ((1 << 63) + 1, 2, 1), TYPE_I8)), "more than any file"
    yield "INT64_MAX twice, i8", one(info("t", ((1 << 63) - 1, 2), TYPE_I8)), "more than any file"  # #27203
    yield "bytes wrap", one(info("t", ((1 << 62) + 8,))), "more than any file"  # CVE-2026-33298
    yield "exabyte tensor", one(info("t", (1 << 40, 1 << 18), TYPE_I8)), "ends at byte"
    yield "dims larger than data", one(info("t", (1 << 20,))), "ends at byte"  # Ollama CVE-2026-7482
    yield "SIZE_MAX - 3 bytes", one(info("t", ((1 << 62) - 1,))), "more than any file"  # GGML_PAD wraps: #24759
    yield "q4_0 row of 33", one(info("t", (33,), Q4_0)), "rows of 33"
    yield "q4_k row of 128", one(info("t", (128, 2), Q4_K), bytes(144)), "rows of 128"  # mx.load reads it
    yield "q4_k scalar", one(info("t", (), Q4_K), bytes(144)), "rows of 1 "
    for kind, says in ((4, "q4_2"), (31, "q4_0_4_4"), (36, "i2_s"), (9, "q8_1"), (15, "q8_k"), (43, "not define")):
        yield f"type {kind}", one(info("t", (256,), kind), bytes(512)), says
    for kind, says in ((142, "pq2_0"), (139, "iq4_k"), (0xFFFFFFFF, "not define"), (0x80000000, "not define")):
        yield f"type {kind}", one(info("t", (256,), kind), bytes(512)), says
    yield "info cut off", gguf(infos=[info("t", (8,))[:-4]]).rstrip(b"\0"), "ends inside"


def _placing() -> Iterator[tuple[str, bytes, str]]:
    def two(first: int, second: int, data: int = 64) -> bytes:
        return gguf(infos=[info("a", (8,), F32, first), info("b", (8,), F32, second)], data=bytes(data))

    yield "first offset not 0", two(32, 64, 96), "0 is expected"
    yield "gap", two(0, 64, 96), "32 is expected"
    yield "overlap", two(0, 0), "32 is expected"
    yield "unaligned", two(0, 33), "32 is expected"
    yield "reordered", two(32, 0), "0 is expected"
    for offset in ((1 << 64) - 32, 1 << 63):  # gguf-py returns bytes from before the data
        yield f"offset {offset}", two(0, offset), "32 is expected"
    yield "data cut by one byte", two(0, 32, 63), "ends at byte"
    yield "no data", two(0, 32, 0), "ends at byte"
    huge = (1 << 60,)  # CVE-2025-53630, CVE-2026-27940: the sum of sizes wraps to something small
    infos = [info(f"t{i}", huge, F32, (i << 62) % (1 << 64)) for i in range(5)]
    yield "sizes sum past 2^64", gguf(infos=infos, data=bytes(64)), "ends at byte"
    old_q2_0 = [info("a", (4096,), 42), info("b", (4096,), 42, 4096 // 128 * 34)]  # llama.cpp #24448
    yield "q2_0 of another block size", gguf(infos=old_q2_0, data=bytes(4096)), "1152 is expected.*another block size"


def _holes() -> Iterator[Attack]:
    """Files of zeros that cost nothing on disk and much time and memory where a count is believed."""
    strings = gguf([ARCHITECTURE, key("a", ARRAY, array(STRING, 1 << 27))])
    yield Attack("a gigabyte of empty strings", {"x.gguf": strings}, "localq reads at most", grow=(1 << 30) + 4096)
    name = gguf([key("general.architecture", STRING, struct.pack("<Q", 1 << 29))])
    yield Attack("an architecture of half a gigabyte", {"x.gguf": name}, "localq reads at most", grow=1 << 30)
    yield Attack("a gigabyte of keys", {"x.gguf": gguf(counts=(0, 1 << 26))}, "localq reads at most", grow=1 << 30)
    yield Attack("a gigabyte of tensors", {"x.gguf": gguf(counts=(1 << 25, 1))}, "localq reads at most", grow=1 << 30)


def _splits() -> Iterator[Attack]:
    def named(number: int, count: int) -> str:
        return f"m-{number:05d}-of-{count:05d}.gguf"

    one, two = shard(0, 2, 2, ("a",)), shard(1, 2, 2, ("b",))
    a, b = named(1, 2), named(2, 2)
    yield Attack("second shard missing", {a: one}, "missing beside it: m-00002-of-00002")
    yield Attack("first shard missing", {b: two}, "missing beside it: m-00001-of-00002")
    yield Attack("65535 shards", {named(1, 65535): shard(0, 65535, 2, ("a",))}, "and 65531 more")
    yield Attack("shards exchanged", {a: two, b: one}, "by its name it is 0 of 2")
    yield Attack("the same shard twice", {a: one, b: one}, "by its name it is 1 of 2")
    yield Attack("shard of another split", {a: one, b: shard(1, 3, 3, ("b",))}, "of 3; by its name")
    yield Attack("shard without split keys", {a: one, b: gguf()}, "by its name it is 1 of 2")
    yield Attack("unsplit file named as a shard", {a: gguf()}, "named as shard 1 of 2")
    yield Attack("shard under another name", {"m.gguf": one}, "not named like one")
    yield Attack("tensor in two shards", {a: one, b: shard(1, 2, 2, ("a",))}, "also in an earlier")
    yield Attack("too few tensors", {a: shard(0, 2, 9, ("a",)), b: shard(1, 2, 9, ("b",))}, "promises 9 tensors")
    text_count = key("split.count", STRING, text("2"))
    yield Attack("split.count is a string", {a: gguf([ARCHITECTURE, text_count])}, "integer is expected")
    yield Attack("second shard damaged", {a: one, b: two[:-1]}, "ends at byte")
