"""From a path to the right reader, or to one sentence that says what is there instead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, LocalqError, NotFoundError, UnsupportedError, UsageError
from tests.attacks import gguf, shard
from tests.attacks_safetensors import GOOD, safetensors

TENSORS, MODEL = safetensors(GOOD, bytes(8)), gguf([])

REFUSED: dict[str, tuple[list[str], type[LocalqError], str]] = {
    "empty folder": ([], NotFoundError, "it is empty"),
    "folder of texts": (["README.md", "a.txt"], NotFoundError, r"it has README\.md, a\.txt"),
    "only pickles": (["config.json", "pytorch_model.bin"], UnsupportedError, "runs its code.*as safetensors or GGUF"),
    "only a .pt": (["model.pt"], UnsupportedError, "pickled"),
    "openvino": (["openvino_model.xml", "openvino_model.bin"], UnsupportedError, "OpenVINO graph.*as safetensors"),
    "mlc": (["ndarray-cache.json", "params_shard_0.bin"], UnsupportedError, "MLC LLM"),
    "ctranslate2": (["config.json", "model.bin", "vocabulary.json"], UnsupportedError, "CTranslate2"),
    "onnx": (["config.json", "model.onnx", "model.onnx_data"], UnsupportedError, r"ONNX graph \(model\.onnx\)"),
    "tensorrt": (["config.json", "rank0.engine"], UnsupportedError, "TensorRT compiled"),
    "litert": (["gemma.task"], UnsupportedError, "MediaPipe"),
    "keras": (["config.json", "tf_model.h5"], UnsupportedError, "TensorFlow's"),
    "llamafile": (["model.llamafile"], UnsupportedError, "a GGUF inside"),
    "two models": (["a-Q4_0.gguf", "a-Q8_0.gguf"], UsageError, r"2 GGUF models: a-Q4_0\.gguf, a-Q8_0\.gguf"),
    "seven models": ([f"{n}.gguf" for n in range(7)], UsageError, r"4\.gguf and 2 more"),
    "a split and a file": (["a.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf"], UsageError, "2 GGUF models"),
    "both containers": (["a.gguf", "model.safetensors"], UsageError, "holds both"),
    "several safetensors": (["a.safetensors", "b.safetensors"], UsageError, r"2 safetensors files and no index"),
    "two sets of shards": (
        ["a-00001-of-00001.safetensors", "b-00001-of-00001.safetensors"],
        UsageError,
        "and other safetensors files: b-",
    ),
    "two indexes": (
        ["a.safetensors.index.json", "b.safetensors.index.json", "x.safetensors"],
        UsageError,
        "several indexes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_folders_that_are_no_one_checkpoint(tmp_path: Path, case: str) -> None:
    files, kind, says = REFUSED[case]
    for name in files:
        (tmp_path / name).write_bytes(MODEL if name.endswith(".gguf") else TENSORS)
    with pytest.raises(kind, match=says) as caught:
        open_checkpoint(tmp_path)
    assert type(caught.value) is kind


@pytest.mark.parametrize("name", ["nothing", "nothing.gguf", "nothing.safetensors", "no\0thing"])
def test_nothing_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match="no file or folder"):
        open_checkpoint(str(tmp_path / name))


def test_a_broken_link(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").symlink_to(tmp_path / "gone")
    with pytest.raises(NotFoundError):
        open_checkpoint(tmp_path / "x.gguf")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth"])
def test_a_pickle(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x02.")
    with pytest.raises(UnsupportedError, match="never loads"):
        open_checkpoint(tmp_path / name)


def test_a_bin_that_is_no_pickle(tmp_path: Path) -> None:
    for name in ("openvino_model.xml", "openvino_model.bin"):
        (tmp_path / name).write_bytes(b"\0" * 16)
    with pytest.raises(UnsupportedError, match="OpenVINO"):
        open_checkpoint(tmp_path / "openvino_model.bin")
    (tmp_path / "ggml-model-q4_0.bin").write_bytes(b"tjgg" + bytes(16))
    with pytest.raises(LocalqError, match="GGJT|GGML|older than GGUF"):
        open_checkpoint(tmp_path / "ggml-model-q4_0.bin")
    (tmp_path / "model.onnx").write_bytes(b"\x08\x07\x12\x07pytorch")
    with pytest.raises(UnsupportedError, match="ONNX"):
        open_checkpoint(tmp_path / "model.onnx")


def test_another_file(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# hello")
    with pytest.raises(CheckpointError, match="neither GGUF nor safetensors"):
        open_checkpoint(tmp_path / "README.md")


def test_content_decides_where_a_blob_has_no_ending(tmp_path: Path) -> None:
    for data, container in ((gguf([]), "gguf"), (TENSORS, "safetensors")):
        (tmp_path / "blob").write_bytes(data)
        assert open_checkpoint(tmp_path / "blob").container == container


def test_folders_that_are_one_checkpoint(tmp_path: Path) -> None:
    for number, files in enumerate(
        (
            {"a.gguf": MODEL, "README.md": b""},
            {"b-00001-of-00002.gguf": shard(0, 2, 2, ("a",)), "b-00002-of-00002.gguf": shard(1, 2, 2, ("b",))},
            {"weights.safetensors": TENSORS, "old.bin": b""},
            {"model.safetensors": TENSORS, "adapters.safetensors": TENSORS},
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data.replace(b"llama", b"other"))
        open_checkpoint(folder).close()


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.safetensors").write_bytes(TENSORS)
    Path("config.json").write_text('{"model_type": "llama"}')
    for where in (".", "model.safetensors", Path("model.safetensors")):
        assert open_checkpoint(where).architecture == "llama"


def test_a_link_the_user_names_is_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/blob").write_bytes(TENSORS)
    (tmp_path / "links").mkdir()
    (tmp_path / "links/m.safetensors").symlink_to(tmp_path / "data/blob")
    assert list(open_checkpoint(tmp_path / "links/m.safetensors")) == ["a"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the super-user may read everything")
def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(MODEL)
    (tmp_path / "x.gguf").chmod(0)
    with pytest.raises(LocalqError, match="cannot be opened: Permission denied"):
        open_checkpoint(tmp_path / "x.gguf")
