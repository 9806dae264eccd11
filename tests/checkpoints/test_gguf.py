"""The GGUF reader against gguf-py's: same metadata, same tensors, same bytes; then what gguf-py cannot do."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.checkpoints.gguf import GGUFCheckpoint, GGUFFile
from localq.errors import CheckpointError, NotFoundError, UnsupportedError, UsageError
from tests.attacks import ARCHITECTURE, U8, U32, array, info, key, shard, text
from tests.attacks import gguf as raw_gguf
from tests.factories import build, decoded_tensors, write_gguf

REAL = ("stories260K/stories260K.gguf", "ggml-vocab/*.gguf", "tinychat-gguf/*.gguf")


def same_as_gguf_py(path: Path) -> None:
    """Compare everything both readers tell."""
    want, have = gguf.GGUFReader(path), GGUFFile(path)
    fields = {name: field for name, field in want.fields.items() if not name.startswith("GGUF.")}
    assert list(fields) == list(have.metadata)
    for name, field in fields.items():
        assert equal(have.metadata[name], field.contents()), name
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            assert have.metadata.length(name) == len(field.data)
    assert [t.name for t in want.tensors] == list(have.tensors)
    for tensor in want.tensors:
        mine = have.tensors[tensor.name]
        assert mine.type.id == tensor.tensor_type.value
        assert mine.shape == tuple(reversed(tensor.shape.tolist()))
        assert have.data(tensor.name) == tensor.data.tobytes()


def equal(a: Any, b: Any) -> bool:
    """Equal values of equal kind, NaN equal to itself."""
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))
    return a == b or (a != a and b != b)


def test_real_files_read_as_gguf_py_reads_them(data_dir: Path) -> None:
    paths = [path for pattern in REAL for path in sorted((data_dir / "models").glob(pattern))]
    readable = [path for path in paths if "Q2_0" not in path.name]  # gguf 0.19 does not know type 42
    assert len(readable) >= 30
    for path in readable:
        # gguf-py needs seconds for each large vocabulary: the smaller ones (WordPiece and SPM) prove the same
        if path.stat().st_size < 1_000_000 or "tinychat" in path.name:
            same_as_gguf_py(path)


def test_a_type_gguf_py_does_not_know(data_dir: Path) -> None:
    with open_checkpoint(data_dir / "models/tinychat-gguf/tinychat-Q2_0.gguf") as ckpt:
        assert ckpt.formats == {"q2_0": 29, "f32": 9}
        assert ckpt["model.layers.0.mlp.up_proj.weight"].parts["weight"].shape == (768, 256 // 64 * 18)


def test_every_kind_of_value(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(str(tmp_path / "x.gguf"), "llama")
    for kind, value in (("uint8", 255), ("int8", -128), ("uint16", 65535), ("int16", -32768)):
        getattr(writer, f"add_{kind}")(f"a.{kind}", value)
    for kind, value in (("uint32", 2**32 - 1), ("int32", -(2**31)), ("uint64", 2**64 - 1), ("int64", -(2**63))):
        getattr(writer, f"add_{kind}")(f"a.{kind}", value)
    for kind, value in (("float32", 0.1), ("float64", 0.1), ("bool", True), ("string", "größe \U0001f600 \0")):
        getattr(writer, f"add_{kind}")(f"a.{kind}", value)
    writer.add_bool("a.false", False)
    writer.add_string("a.empty", "")
    writer.add_array("b.strings", ["", "é", "long " * 1000])
    for name, numbers in (
        ("b.ints", [-5, 0, 2**31 - 1]),
        ("b.floats", [0.5, float("inf")]),
        ("b.bools", [True, False]),
    ):
        writer.add_array(name, numbers)
    writer.add_array("b.bytes", bytes(range(256)))
    for name, dtype in (
        ("f32", np.float32),
        ("i8", np.int8),
        ("i16", np.int16),
        ("i64", np.int64),
        ("f64", np.float64),
    ):
        writer.add_tensor(name, np.arange(12, dtype=dtype).reshape(3, 4))
    writer.add_tensor("deep", np.arange(24, dtype=np.float16).reshape(2, 3, 2, 2))
    finish(writer)
    same_as_gguf_py(tmp_path / "x.gguf")
    metadata = GGUFFile(tmp_path / "x.gguf").metadata
    assert metadata.kind("b.floats") == "array[f32]"
    assert metadata.kind("a.uint64") == "u64"
    assert metadata.length("a.uint64") == 1
    assert metadata["a.string"] == "größe \U0001f600 \0"
    assert "nothing" not in metadata
    assert metadata.get("nothing", 7) == 7


def finish(writer: gguf.GGUFWriter) -> None:
    """Write and close."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("alignment", [1, 2, 8, 32, 4096])
def test_alignment(tmp_path: Path, alignment: int) -> None:
    """Unaligned data too: arrays are then views of odd addresses."""
    path = tmp_path / "x.gguf"
    keys = [key("general.alignment", U32, alignment.to_bytes(4, "little"))]
    content = np.arange(3, dtype=np.float32).tobytes()
    padded = content + bytes(-len(content) % alignment)
    infos = [info("a", (3,)), info("b", (3, 1), 0, len(padded))]
    head = raw_gguf(keys, infos).rstrip(b"\0") + bytes(16)
    head = head[: len(b"".join([head[:24], *keys, *infos]))]
    path.write_bytes(head + bytes(-len(head) % alignment) + padded + content)
    with open_checkpoint(path) as ckpt:
        assert ckpt["b"].dequantize().tolist() == [[0, 1, 2]]
        assert ckpt["a"].dequantize().tolist() == [0, 1, 2]


def test_versions_scalars_and_empty_tensors(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    infos = [info("scalar", ()), info("none", (4, 0), 0, 32), info("row", (2,), 0, 32)]
    for version in (2, 3):
        path.write_bytes(raw_gguf([], infos, np.full(10, 2, np.float32).tobytes(), version=version))
        with GGUFCheckpoint(path) as ckpt:
            assert ckpt.architecture is None and ckpt.config is None and ckpt.unsupported is None
            assert ckpt["scalar"].dequantize() == 2
            assert ckpt["none"].dequantize().shape == (0, 4)
            assert list(ckpt) == ["scalar", "none", "row"]
            assert ckpt.parameters == 3


def test_long_arrays_are_decoded_when_asked_for(tmp_path: Path) -> None:
    """A vocabulary that is no UTF-8 opens; the error comes, by name, from whoever reads it."""
    path = tmp_path / "x.gguf"
    strings = text("ok") + text(b"\xff")
    path.write_bytes(raw_gguf([key("tokens", 9, array(8, 2, strings)), key("after", 9, array(U8, 2, b"\1\2"))]))
    metadata = GGUFFile(path).metadata
    assert metadata["after"] == [1, 2]
    assert metadata.length("tokens") == 2
    with pytest.raises(CheckpointError, match="string 1 of key 'tokens' is not UTF-8"):
        metadata["tokens"]


def test_parts_are_views_that_outlive_the_checkpoint(tmp_path: Path) -> None:
    path = write_gguf(build("llama"), tmp_path / "x.gguf", "q8_0")
    ckpt = open_checkpoint(path)
    tensor = ckpt["model.layers.0.mlp.up_proj.weight"]
    part, stored = tensor.parts["weight"], np.frombuffer(ckpt.raw("blk.0.ffn_up.weight")[0], np.uint8)
    assert np.shares_memory(part, stored)
    assert not part.flags.writeable
    before = part.copy()
    ckpt.close()
    del ckpt, stored
    gc.collect()
    assert (part == before).all()


def test_a_closed_checkpoint_says_so(tmp_path: Path) -> None:
    with open_checkpoint(write_gguf(build("llama"), tmp_path / "x.gguf")) as ckpt:
        name = next(iter(ckpt))
    with pytest.raises(UsageError, match="closed"):
        ckpt[name]
    with pytest.raises(UsageError, match="closed"):
        ckpt.raw("token_embd.weight")


def test_names_that_do_not_exist(tmp_path: Path) -> None:
    with open_checkpoint(write_gguf(build("llama"), tmp_path / "x.gguf")) as ckpt:
        with pytest.raises(NotFoundError, match=r"Did you mean model\.layers\.0\.mlp\.up_proj\.weight"):
            ckpt["model.layers.0.mlp.up_projection.weight"]
        with pytest.raises(NotFoundError, match="no tensor"):
            ckpt.raw("model.layers.0.mlp.up_proj.weight")


def test_split_files_open_from_any_shard(tmp_path: Path) -> None:
    model = build("qwen3")
    whole = open_checkpoint(write_gguf(model, tmp_path / "whole.gguf", "q4_0"))
    paths = split(tmp_path / "whole.gguf", tmp_path / "part", 4)
    assert len(paths) > 3
    for path in (paths[0], paths[1], paths[-1]):
        with open_checkpoint(path) as ckpt:
            assert list(ckpt) == list(whole)
            assert ckpt.config == whole.config
            assert ckpt.metadata["tokenizer.ggml.tokens"] == whole.metadata["tokenizer.ggml.tokens"]
            assert all((ckpt[n].parts["weight"] == whole[n].parts["weight"]).all() for n in whole)
    (tmp_path / "whole.gguf").unlink()
    assert len(open_checkpoint(tmp_path)) == len(whole)
    paths[1].unlink()
    with pytest.raises(CheckpointError, match="missing beside it"):
        open_checkpoint(paths[2])


def split(source: Path, prefix: Path, tensors: int) -> list[Path]:
    """Split with gguf-py's own writer, as its reader reads the source."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(str(prefix) + ".gguf", "qwen3", split_max_tensors=tensors)
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            sub = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], sub)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    finish(writer)
    return sorted(prefix.parent.glob(f"{prefix.name}-*.gguf"))


def test_a_split_of_one(tmp_path: Path) -> None:
    path = tmp_path / "m-00001-of-00001.gguf"
    path.write_bytes(shard(0, 1, 1, ("a",)).replace(b"llama", b"other"))
    assert list(open_checkpoint(path)) == ["a"]


@pytest.mark.parametrize("arch", ["qwen3", "mixtral"])
def test_nvfp4_takes_its_second_scale(tmp_path: Path, arch: str) -> None:
    model = build(arch)
    path = write_gguf(model, tmp_path / "x.gguf", "nvfp4")
    want = decoded_tensors(model, "nvfp4")
    with GGUFCheckpoint(path) as ckpt:
        assert not [name for name in ckpt if name.endswith("scale")]
        for name in ("blk.0.attn_v.weight", *(n for n in want if "blk.1.ffn" in n and n.endswith("exps.weight"))):
            have = ckpt.file_data.packed(name)
            assert have.format.name == "nvfp4_ggml"
            assert have.parts["scale"].shape == have.shape[:-2]
            assert not (have.parts["scale"] == 1).any()
            np.testing.assert_array_equal(have.dequantize(), want[name])
        assert sum(s.nbytes for s in ckpt.specs.values()) == sum(t.nbytes for t in ckpt.file_data.tensors.values())


def nvfp4_file(path: Path, scale: bytes = b"", count: int = 0, kind: int = 0) -> GGUFFile:
    """One nvfp4 matrix of [2, 64], with a scale tensor of `count` values if `scale` is given."""
    infos = [info("w.weight", (64, 2), 40)] + ([info("w.scale", (count,), kind, 96)] if scale else [])
    path.write_bytes(raw_gguf([], infos, (bytes(range(72)) + bytes(24)) + scale))
    return GGUFFile(path)


def test_nvfp4_without_or_with_a_wrong_scale(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    assert nvfp4_file(path).packed("w.weight").parts["scale"] == 1
    half = nvfp4_file(path, np.float32(0.5).tobytes(), 1)
    assert half.packed("w.weight").parts["scale"] == 0.5
    for scale, count, kind in ((np.ones(2, np.float32), 2, 0), (np.ones(1, np.float16), 1, 1)):
        with pytest.raises(CheckpointError, match="f32 with 1 values is expected"):
            nvfp4_file(path, scale.tobytes(), count, kind).packed("w.weight")


def test_tables_of_integers(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(raw_gguf([], [info("t", (3,), 26)], np.arange(3, dtype=np.int32).tobytes()))
    with open_checkpoint(path) as ckpt:
        assert ckpt.formats == {"i32": 1}
        data, kind = ckpt.raw("t")
        assert (kind, np.frombuffer(data, np.int32).tolist()) == ("i32", [0, 1, 2])
        with pytest.raises(UnsupportedError, match="table of i32"):
            ckpt["t"]


def test_an_unknown_architecture_opens_for_explain(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    keys = [key("general.architecture", 8, text("hyena9"))]
    path.write_bytes(raw_gguf(keys, [info("blk.0.x", (8,))], bytes(32)))
    with open_checkpoint(path) as ckpt:
        assert (ckpt.architecture, ckpt.config, list(ckpt)) == ("hyena9", None, ["blk.0.x"])
        assert ckpt.unsupported is not None and "hyena9" in ckpt.unsupported


@pytest.mark.parametrize("kind", ["adapter", "mmproj", "imatrix"])
def test_other_kinds_of_files_are_no_models(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.gguf"
    keys = [ARCHITECTURE, key("general.type", 8, text(kind))]
    path.write_bytes(raw_gguf(keys, [info("blk.0.x", (8,))], bytes(32)))
    with open_checkpoint(path) as ckpt:
        assert ckpt.unsupported is not None and kind in ckpt.unsupported
        assert ckpt["blk.0.x"].shape == (8,)


def test_a_vocabulary_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(raw_gguf())
    with open_checkpoint(path) as ckpt:
        assert (ckpt.architecture, len(ckpt)) == ("llama", 0)
        assert ckpt.unsupported is not None and "vocabulary" in ckpt.unsupported


def test_headers_need_neither_numpy_nor_json(tmp_path: Path) -> None:
    path = write_gguf(build("llama"), tmp_path / "x.gguf", "q4_0")
    code = (
        "import sys; from localq.checkpoints.gguf import GGUFCheckpoint; "
        f"c = GGUFCheckpoint({str(path)!r}); assert c.config and c.formats and c.bits_per_weight; "
        "print(*({'numpy', 'ml_dtypes', 'json', 'dataclasses', 'pathlib', 'mlx', 'gguf'} & set(sys.modules)))"
    )
    child = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == ""
