"""Damaged copies of good files: whatever happened to the bytes, the answer is a checkpoint or a `LocalqError`."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from localq.checkpoints import open_checkpoint
from localq.checkpoints.gguf import GGUFFile
from localq.errors import CheckpointError, LocalqError
from tests.factories import build, write_gguf, write_hf

FLIPS = 3000


@pytest.fixture(scope="module")
def good_gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small model with three types, its trailing padding removed so that every byte counts."""
    path = tmp_path_factory.mktemp("good") / "x.gguf"
    write_gguf(build("llama"), path, {"*attn_v*": "q6_k", "*ffn*": "q4_k", "*": "q8_0"})
    file = GGUFFile(path)
    last = max(file.tensors.values(), key=lambda tensor: tensor.offset)
    return path.read_bytes()[: last.offset + last.nbytes]


@pytest.fixture(scope="module")
def good_safetensors(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small model in bfloat16."""
    folder = write_hf(build("llama"), tmp_path_factory.mktemp("good"), "bfloat16")
    return (folder / "model.safetensors").read_bytes()


def ends_of_sections(data: bytes, path: Path) -> list[int]:
    """Where a GGUF's counts, each key, each tensor info and each tensor end."""
    path.write_bytes(data)
    file = GGUFFile(path)
    places = [at for _, _, at in file.metadata._values.values()]
    names = [data.index(struct.pack("<Q", len(name)) + name.encode()) for name in file.tensors]
    data_at = [place for t in file.tensors.values() for place in (t.offset, t.offset + t.nbytes // 2)]
    return [0, 3, 4, 8, 12, 16, 24, *places, *names, *data_at, len(data) - 1]


def test_gguf_cut_off_anywhere(good_gguf: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    chance = random.Random(1)
    cuts = ends_of_sections(good_gguf, path) + [chance.randrange(len(good_gguf)) for _ in range(50)]
    assert len(cuts) > 100
    for cut in cuts:
        path.write_bytes(good_gguf[:cut])
        with pytest.raises(CheckpointError):
            open_checkpoint(path)


def test_safetensors_cut_off_anywhere(good_safetensors: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    (header,) = struct.unpack_from("<Q", good_safetensors)
    chance = random.Random(2)
    cuts = [0, 1, 7, 8, 9, 7 + header, 8 + header, 9 + header, len(good_safetensors) - 1]
    for cut in cuts + [chance.randrange(len(good_safetensors)) for _ in range(50)]:
        path.write_bytes(good_safetensors[:cut])
        with pytest.raises(CheckpointError):
            open_checkpoint(path)


def header_of(good: bytes, path: Path) -> int:
    """Length of the part of a file that is not weights."""
    if path.suffix == ".safetensors":
        return 8 + int(struct.unpack_from("<Q", good)[0])
    path.write_bytes(good)
    return min(tensor.offset for tensor in GGUFFile(path).tensors.values())


@pytest.mark.parametrize("kind", ["gguf", "safetensors"])
def test_flipped_bytes(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """One to four bytes of the header changed: opened with all its tensors and values, or refused."""
    good: bytes = request.getfixturevalue(f"good_{kind}")
    path = tmp_path / f"x.{kind}"
    header = header_of(good, path)
    chance = random.Random(3)
    outcomes = {True: 0, False: 0}
    for number in range(FLIPS):
        data = bytearray(good)
        for _ in range(chance.choice((1, 1, 2, 4))):
            data[chance.randrange(header)] = chance.choice((0, 0xFF, 0x80, 0x22, 0x7D, chance.randrange(256)))
        path.write_bytes(data)
        outcomes[read_all(path, number)] += 1
    assert min(outcomes.values()) > FLIPS // 100, outcomes


def read_all(path: Path, number: int) -> bool:
    """Open and look at everything; whether it went well. Any exception but localq's own is a failure."""
    try:
        with open_checkpoint(path) as ckpt:
            for key in ckpt.metadata:
                ckpt.metadata[key]
            for name in ckpt:
                tensor = ckpt[name]
                if number % 100 == 0:
                    tensor.dequantize()
    except LocalqError as error:
        assert str(error)
        return False
    except Exception as error:
        raise AssertionError(f"change {number}: {type(error).__name__}: {error}") from error
    return True
