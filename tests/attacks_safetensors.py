"""Hostile safetensors checkpoints: broken files, bombs in JSON, an index or a link that reaches outside."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from tests.attacks import Attack

GOOD = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file of a header (an object, or its raw bytes) and data; `length` lies about the header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(begin: int, end: int, dtype: Any = "U8", shape: Any = None) -> dict[str, Any]:
    """A tensor entry of a header, bytes by default."""
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


def safetensors_attacks() -> Iterator[Attack]:
    """Every attack on the safetensors container and on the JSON files beside it."""
    for name, data, says in (*_headers(), *_json(), *_entries(), *_covers()):
        yield Attack(name, {"x.safetensors": data}, says)
    big = safetensors(b'{"a":', length=99_000_000)
    yield Attack("a header of 99 MB of zeros", {"x.safetensors": big}, "at most 20000000", grow=100_000_000)
    yield from _configs()
    yield from _indexes()


def _headers() -> Iterator[tuple[str, bytes, str]]:
    yield "safetensors: empty file", b"", "empty"
    yield "safetensors: seven bytes", bytes(7), "starts with 8"
    yield "safetensors: no header", bytes(8), "starts with b''"
    for length in (1 << 63, (1 << 64) - 1, 100_000_001):
        yield f"header of {length}", safetensors(GOOD, bytes(8), length), "safetensors allows 100000000"
    yield "header past the end", safetensors(GOOD, b"", 5000), "the file has"
    yield "header is a list", safetensors(b"[]"), "'{' is expected"
    yield "header starts with a blank", safetensors(b" {}"), "'{' is expected"


def _json() -> Iterator[tuple[str, bytes, str]]:
    yield "not JSON", safetensors(b'{"a":'), "not valid JSON"
    yield "not UTF-8", safetensors(b'{"\xff": 1}'), "not valid JSON"
    yield "two objects", safetensors(b"{}{}"), "not valid JSON"
    yield "deep JSON", safetensors(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "not valid JSON"
    yield "JSON bomb", safetensors(b'{"a":[' + b"[]," * 2_000_000 + b"[]]}"), "brackets and commas"
    yield "number of 5000 digits", safetensors(b'{"a":' + b"9" * 5000 + b"}"), "not valid JSON"
    twice = json.dumps(GOOD["a"])
    yield "name twice", safetensors(f'{{"a":{twice},"a":{twice}}}'.encode(), bytes(8)), "'a' twice"
    field = b'{"a":{"dtype":"U8","dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    yield "field twice", safetensors(field, bytes(8)), "'dtype' twice"
    yield "metadata twice", safetensors(b'{"__metadata__":{},"__metadata__":{}}'), "twice"
    yield "metadata of numbers", safetensors({"__metadata__": {"a": 1}}), "object of strings"
    yield "metadata is a list", safetensors({"__metadata__": []}), "object of strings"


def _entries() -> Iterator[tuple[str, bytes, str]]:
    def one(found: Any, name: str = "a") -> bytes:
        return safetensors({name: found}, bytes(8))

    yield "entry is a number", one(1), "must say dtype"
    yield "entry without shape", one({"dtype": "U8", "data_offsets": [0, 8]}), "must say dtype"
    yield "entry with more", one({**GOOD["a"], "x": 1}), "nothing else"
    yield "no name for a tensor", one(GOOD["a"], ""), "cannot be printed"
    yield "name with escapes", one(GOOD["a"], "\x1b[2J"), "cannot be printed"
    yield "name with half a character", one(GOOD["a"], "\ud800"), "cannot be printed"
    yield "unknown dtype", one(entry(0, 8, "F128")), "dtype 'F128'"
    for dtype in (7, None, ["F32"]):
        yield f"dtype {dtype}", one(entry(0, 8, dtype)), "wrong kind"
    for shape in ([-2], [2.0], [True], "2", None, [[2]], [1 << 63]):
        found = {**GOOD["a"], "shape": shape}
        yield f"shape {shape}", one(found), "wrong kind"
    for shape in ([1 << 32, 1 << 32], [(1 << 63) - 1, 2], [0, 1 << 62, 4]):
        yield f"shape {shape}", one({**GOOD["a"], "shape": shape}), "more values than any file"
    yield "shape and offsets differ", one(entry(0, 8, "F32", [3])), "takes 12 bytes"
    yield "half a byte", one(entry(0, 1, "F4", [3])), "takes 1.5 bytes"
    for offsets in ([8, 0], [0, 8, 8], [0], [-8, 0], [0, 8.0], "08", [0, 1 << 64]):
        yield f"offsets {offsets}", one({**GOOD["a"], "data_offsets": offsets}), "wrong kind|offsets 8 to 0"


def _covers() -> Iterator[tuple[str, bytes, str]]:
    yield "hole at the start", safetensors({"a": entry(1, 8)}, bytes(8)), "hole"
    yield "hole between", safetensors({"a": entry(0, 3), "b": entry(4, 8)}, bytes(8)), "hole"
    yield "overlap of one byte", safetensors({"a": entry(0, 5), "b": entry(4, 8)}, bytes(8)), "overlaps"
    yield "the same bytes twice", safetensors({"a": entry(0, 8), "b": entry(0, 8)}, bytes(8)), "overlaps"
    yield "tensor inside another", safetensors({"a": entry(0, 8), "b": entry(2, 4)}, bytes(8)), "overlaps"
    yield "data cut by a byte", safetensors(GOOD, bytes(7)), "take 8 bytes of data; the file has 7"
    yield "data too long", safetensors(GOOD, bytes(9)), "take 8 bytes of data; the file has 9"
    yield "data without tensors", safetensors({}, bytes(9)), "take 0 bytes"


def _configs() -> Iterator[Attack]:
    good = safetensors(GOOD, bytes(8))

    def folder(name: str, config: Any, says: str, file: str = "config.json") -> Attack:
        raw = config if isinstance(config, bytes) else json.dumps(config).encode()
        return Attack(name, {"model.safetensors": good, file: raw}, says, opens=".")

    yield folder("config is a list", [], "an object is expected")
    yield folder("config is empty", b"", "not valid JSON")
    yield folder("config is cut off", b'{"model_type": "lla', "not valid JSON")
    yield folder("config is deep", b'{"a":' + b"[" * 99_999, "not valid JSON")
    yield folder("config with a key twice", b'{"model_type":"llama","model_type":"qwen2"}', "twice")
    yield folder("model_type is a number", {"model_type": 5}, "a name is expected")
    yield folder("quantization is a list", {"quantization": [4]}, "not an object")
    yield folder("hf_quant_config is a list", [], "an object is expected", "hf_quant_config.json")
    weights = safetensors({"m.weight": entry(0, 8, "U32", [1, 2]), "m.scales": entry(8, 10, "F16", [1, 1])}, bytes(10))
    files = {"model.safetensors": weights, "config.json": b'{"quantization": {"bits": 4, "group_size": 64}}'}
    yield Attack("MLX settings against shapes", files, "m.weight", opens=".")


def _indexes() -> Iterator[Attack]:
    index, shard = "model.safetensors.index.json", "model-00001-of-00001.safetensors"
    good = safetensors(GOOD, bytes(8))

    def mapped(name: str, weight_map: Any, says: str, **more: bytes) -> Attack:
        files = {index: json.dumps({"weight_map": weight_map}).encode(), shard: good}
        return Attack(name, {**files, **{f"{k}.safetensors": v for k, v in more.items()}}, says, opens=".")

    outside = "plain name of a .safetensors file"
    for file in ("/etc/x.safetensors", "../x.safetensors", "a/../../x.safetensors", "a/x.safetensors"):
        yield mapped(f"index to {file}", {"a": file}, outside)
    for file in ("..\\x.safetensors", "C:x.safetensors", "x\0.safetensors", "..", "", ".", "/etc/passwd", "x.bin"):
        yield mapped(f"index to {file!r}", {"a": file}, outside)
    for found in (None, 5, ["x.safetensors"], {"x": 1}):
        yield mapped(f"index entry {found}", {"a": found}, outside)
    for found in (None, [], {}, "x"):
        yield mapped(f"weight_map {found}", found, "has no weight_map")
    yield mapped("index to nothing", {"a": "nowhere.safetensors"}, "missing: nowhere")
    yield mapped("index names a tensor too many", {"a": shard, "b": shard}, "'b' into .*, which lacks it")
    b = safetensors({"b": entry(0, 8)}, bytes(8))
    yield mapped("index exchanges files", {"a": "two.safetensors", "b": shard}, "it is in", two=b)
    both = safetensors({"b": entry(0, 8), "c": entry(8, 16)}, bytes(16))
    yield mapped("tensor the index lacks", {"a": shard, "b": "two.safetensors"}, "does not name", two=both)
    yield mapped("tensor in two files", {"a": shard, "b": "two.safetensors"}, "earlier file", two=good)
    twice = f'{{"weight_map": {{"a": "{shard}", "a": "other.safetensors"}}}}'.encode()
    yield Attack("index with a name twice", {index: twice, shard: good}, "twice", opens=".")
    yield Attack("index is a list", {index: b"[]", shard: good}, "an object is expected", opens=".")
    yield Attack("shard missing without index", {"m-00001-of-00002.safetensors": good}, "lacks", opens=".")
