"""Headers by range request: the same truth as from the downloaded files, for a fraction of the bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UsageError
from localq.hub.pull import Plan, plan_pull, pull
from localq.hub.refs import parse
from localq.hub.selection import Wish
from localq.inspect.remote import open_remote, remote_truth
from localq.inspect.truth import read_truth
from tests.factories import build, write_gguf, write_hf
from tests.hub.server import Hub, Trouble


def plan(ref: str) -> Plan:
    return plan_pull(parse(ref), Wish())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """A tiny llama as a folder, as shards with an index, and as a GGUF; the weights are padded with a large one."""
    base = tmp_path_factory.mktemp("remote")
    tiny = build("llama")
    folder = write_hf(tiny, base / "hf")
    gguf = write_gguf(tiny, base / "tiny.gguf", "f32")
    return {
        "folder": {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()},
        "gguf": {"tiny-F32.gguf": gguf.read_bytes()},
    }


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_the_truth_is_the_same_as_from_the_file(hub: Hub, files: dict[str, dict[str, bytes]], kind: str) -> None:
    hub.add("acme/Tiny", files[kind])
    there = remote_truth(plan("acme/Tiny"), "acme/Tiny")
    with open_remote(plan("acme/Tiny")) as remote:
        specs, config = dict(remote.specs), remote.config
        with pytest.raises(UsageError, match="Only the headers of acme/Tiny are here"):
            remote[next(iter(remote))]
        with pytest.raises(UsageError):
            remote.raw("x")
    with open_checkpoint(pull(plan("acme/Tiny"))) as local:
        assert dict(local.specs) == specs and local.config == config
        assert read_truth(local)._replace(path="acme/Tiny") == there


def test_only_headers_are_fetched(hub: Hub, tmp_path: Path) -> None:
    """Two shards of 3 MB each: their headers and the index come, the weights do not."""
    import json

    shards, index = {}, {}
    for n in (1, 2):
        name = f"model-0000{n}-of-00002.safetensors"
        header = json.dumps({f"w{n}": {"dtype": "F16", "shape": [1500, 1000], "data_offsets": [0, 3_000_000]}}).encode()
        shards[name] = struct.pack("<Q", len(header)) + header + bytes(3_000_000)
        index[f"w{n}"] = name
    more = {"model.safetensors.index.json": json.dumps({"weight_map": index}).encode(), "config.json": b"{}"}
    hub.add("acme/Shards", {**shards, **more})
    with open_remote(plan("acme/Shards")) as remote:
        assert remote.parameters == 3_000_000 and remote.bits_per_weight == 16
    assert sum(count for path, _, count in hub.log if path in shards) < 600_000
    hub.log.clear()
    hub.trouble["*"] = Trouble(no_range=True, piece=1 << 14)
    with open_remote(plan("acme/Shards")) as remote:
        assert set(remote) == {"w1", "w2"}


def test_a_long_header_is_fetched_to_its_end(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocabulary of 60,000 words: the header is longer than the first request."""
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "v.gguf", "unheard-of")
    writer.add_token_list([f"word{n}" for n in range(60_000)])
    import numpy as np

    writer.add_tensor("big", np.zeros((1000, 1000), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    data = (tmp_path / "v.gguf").read_bytes()
    hub.add("acme/Vocab-GGUF", {"v-F32.gguf": data})
    monkeypatch.setattr("localq.inspect.remote.FIRST", 1 << 15)
    with open_remote(plan("acme/Vocab-GGUF")) as remote:
        assert remote.reference.startswith("acme/Vocab-GGUF")
        assert remote.metadata["tokenizer.ggml.tokens"][59_999] == "word59999" and list(remote.specs) == ["big"]
    assert 60_000 * 13 < hub.sent("v-F32.gguf") < len(data) / 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (struct.pack("<Q", 1 << 40) + b"{}" + bytes(100), "claims a header of 1099511627776 bytes"),
        (struct.pack("<Q", 50) + b"{" + bytes(100), "JSON|header"),
        (b"\xff" * 200, "claims a header"),
    ],
)
def test_hostile_headers(hub: Hub, data: bytes, words: str) -> None:
    hub.add("acme/Evil", {"model.safetensors": data, "config.json": b"{}"})
    with pytest.raises(CheckpointError, match=words), open_remote(plan("acme/Evil")):
        pass


@pytest.mark.parametrize("data", [b"GGUX" + bytes(100), b"GGUF" + b"\xff" * 100, b"GGUF\3\0\0\0" + b"\xff" * 100])
def test_hostile_ggufs(hub: Hub, data: bytes) -> None:
    hub.add("acme/Evil", {"evil-Q4_0.gguf": data})
    with pytest.raises(CheckpointError), open_remote(plan("acme/Evil")):
        pass


def test_a_server_with_another_file_is_refused(hub: Hub, files: dict[str, dict[str, bytes]]) -> None:
    repo = hub.add("acme/Tiny", files["folder"])
    planned = plan("acme/Tiny")
    repo.files["model.safetensors"] += b"more"
    with pytest.raises(CheckpointError, match="bytes at the server and .* in the listing"), open_remote(planned):
        pass
    repo.files["model.safetensors"] = files["folder"]["model.safetensors"]
    hub.trouble["config.json"] = Trouble(wrong_byte=0)
    with pytest.raises(CheckpointError, match="another hash than listed"), open_remote(planned):
        pass


def test_cut_headers_are_continued(hub: Hub, files: dict[str, dict[str, bytes]]) -> None:
    hub.add("acme/Tiny", files["gguf"])
    hub.trouble["tiny-F32.gguf"] = Trouble(cut_after=1000, times=3)
    with open_remote(plan("acme/Tiny")) as remote:
        assert remote.architecture == "llama"
