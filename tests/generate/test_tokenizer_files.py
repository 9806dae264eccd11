"""Tokenizers from a repository's files against the tokenizers library and transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Library

from localq.errors import CheckpointError, UnsupportedError, UsageError
from localq.generate.tokenizer import Tokenizer
from localq.generate.tokenizer_files import tokenizer_from_files
from tests.generate.texts import LINES, TEXT

MODELS = ["tinychat", "stories260K-hf"]


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("*.json")}


def opened(files: dict[str, Any]) -> Tokenizer:
    packed = {n: v if isinstance(v, bytes) else json.dumps(v).encode() for n, v in files.items()}
    found = tokenizer_from_files(packed.get)
    assert found is not None
    return found


@pytest.mark.parametrize("name", MODELS)
def test_as_the_library(data_dir: Path, name: str) -> None:
    files = files_of(data_dir / "models" / name)
    library, ours = Library.from_str(files["tokenizer.json"].decode()), opened(files)
    for text in [TEXT, *LINES, "<s>x</s><|im_start|>"]:
        assert ours.encode(text, add_special=False) == library.encode(text, add_special_tokens=False).ids
        ids = library.encode(text).ids
        assert ours.decode(ids) == library.decode(ids)
        assert ours.decode(ids, skip_special=False) == library.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("name", MODELS)
def test_as_transformers(data_dir: Path, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    folder = data_dir / "models" / name
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(str(folder))
    ours = opened(files_of(folder))
    for text in LINES:
        assert ours.encode(text) == theirs.encode(text)
    assert ours.special_tokens["bos_token"] == theirs.bos_token
    assert theirs.eos_token_id in ours.eos_ids


def test_bos_and_eos_as_configured(data_dir: Path) -> None:
    files = files_of(data_dir / "models" / "stories260K-hf")
    config = json.loads(files["tokenizer_config.json"])
    assert opened(files).encode("a")[0] == 1
    files["tokenizer_config.json"] = json.dumps({**config, "add_bos_token": False, "add_eos_token": True}).encode()
    ours = opened(files)
    assert (ours.prefix_ids, ours.suffix_ids) == ((), (2,))
    assert ours.encode("a")[-1] == 2


def test_ends_of_an_answer(data_dir: Path) -> None:
    files: dict[str, Any] = dict(files_of(data_dir / "models" / "tinychat"))
    files["generation_config.json"] = {"eos_token_id": 7}
    assert opened(files).eos_ids == {2, 7}  # eos_token of tokenizer_config as well
    del files["generation_config.json"]
    files["config.json"] = {"text_config": {"eos_token_id": [8, 9]}}
    assert opened(files).eos_ids == {2, 8, 9}


def test_no_half_characters_in(data_dir: Path) -> None:
    with pytest.raises(UsageError, match="position 2"):
        opened(files_of(data_dir / "models" / "tinychat")).encode("ab\ud83d")


def test_truncation_in_the_file_is_not_ours(data_dir: Path) -> None:
    files = files_of(data_dir / "models" / "tinychat")
    library = Library.from_str(files["tokenizer.json"].decode())
    library.enable_truncation(4)
    library.enable_padding(length=50)
    files["tokenizer.json"] = library.to_str().encode()
    assert opened(files).encode("Hi") == [*library_ids(files_of(data_dir / "models" / "tinychat"), "Hi")]
    assert len(opened(files).encode(TEXT)) > 100


def library_ids(files: dict[str, bytes], text: str) -> list[int]:
    return Library.from_str(files["tokenizer.json"].decode()).encode(text).ids


def minimal(**changes: Any) -> dict[str, Any]:
    base = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
        "decoder": {"type": "ByteLevel"},
    }
    return base | changes


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"tokenizer.json": b"{"}, CheckpointError, "refused"),
        ({"tokenizer.json": b"\xff\xfe"}, CheckpointError, "refused"),
        ({"tokenizer.json": minimal(model={"type": "Magic"})}, CheckpointError, "refused"),
        ({"tokenizer.json": minimal(decoder=None)}, UnsupportedError, "decoder"),
        ({"tokenizer.json": minimal(decoder={"type": "CTC"})}, (UnsupportedError, CheckpointError), "decoder|refused"),
        (
            {"tokenizer.json": minimal(model={"type": "BPE", "vocab": {"a": 2**31}, "merges": []})},
            CheckpointError,
            "id",
        ),
        ({"tokenizer.json": minimal(), "tokenizer_config.json": b"["}, CheckpointError, "JSON"),
        ({"tokenizer.json": minimal(), "tokenizer_config.json": b"[]"}, CheckpointError, "list"),
        ({"tokenizer.json": minimal(), "config.json": {"eos_token_id": ["x"]}}, CheckpointError, "eos_token_id"),
        ({"tokenizer.model": b"garbage"}, CheckpointError, "SentencePiece"),
    ],
)
def test_damaged_files(files: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        opened(files)


def test_nothing_there() -> None:
    assert tokenizer_from_files(lambda _: None) is None


def test_sentencepiece_model_alone(data_dir: Path) -> None:
    """tok512.model beside the stories model: the ids of its tokenizer.json on plain English, SentencePiece's on all."""
    sentencepiece = pytest.importorskip("sentencepiece")
    path = data_dir / "models" / "stories260K" / "tok512.model"
    ours = opened({"tokenizer.model": path.read_bytes()})
    files = opened(files_of(data_dir / "models" / "stories260K-hf"))
    reference = sentencepiece.SentencePieceProcessor(model_file=str(path))
    for text in (data_dir / "text" / "tinyshakespeare.txt").read_text()[:20_000].split("\n"):
        text = " ".join(text.split())
        assert ours.encode(text) == files.encode(text)
        assert ours.decode(ours.encode(text)) == text
    for text in LINES:  # this model squeezes white space and normalises characters, which its tokenizer.json lost
        assert ours.encode(text, add_special=False) == reference.EncodeAsIds(text)
    assert (ours.eos_ids, ours.prefix_ids) == ({2}, (1,))
