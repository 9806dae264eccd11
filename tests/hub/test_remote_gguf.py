"""What of a GGUF header comes over the network: all of its strings, for only they say where the tensors are listed."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UsageError
from localq.hub.pull import plan_pull
from localq.hub.refs import parse
from localq.hub.selection import Wish
from localq.inspect.remote import open_remote
from tests.hub.server import Hub

WORDS = 150_000


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def string(key: str, value: bytes) -> bytes:
    return text(key.encode()) + struct.pack("<I", 8) + text(value)


def strings(key: str, values: list[bytes]) -> bytes:
    return text(key.encode()) + struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(text, values))


def numbers(key: str, count: int) -> bytes:
    return text(key.encode()) + struct.pack("<IIQ", 9, 5, count) + b"\1\0\0\0" * count


def table(rows: dict[str, int]) -> bytes:
    """Infos of float32 vectors, one after the other."""
    found, at = b"", 0
    for name, length in rows.items():
        found += text(name.encode()) + struct.pack("<IQIQ", 1, length, 0, at)
        at += 4 * length
    return found


def gguf(keys: list[bytes], rows: dict[str, int]) -> bytes:
    head = b"GGUF" + struct.pack("<Iqq", 3, len(rows), len(keys)) + b"".join(keys) + table(rows)
    return head + bytes(-len(head) % 32 + 4 * sum(rows.values()))


VOCABULARY = [
    strings("tokenizer.ggml.tokens", [b"word%d" % (n * n) for n in range(WORDS)]),
    numbers("tokenizer.ggml.scores", WORDS),
    numbers("tokenizer.ggml.token_type", WORDS),
    strings("tokenizer.ggml.merges", [b"w%d %d" % (n, n * n) for n in range(WORDS)]),
    string("tokenizer.huggingface.json", b"{" + bytes(900_000)),
    string("general.name", b"after the words"),
]
ROWS = {"big.weight": 2_000_000, "small.weight": 64}


def local(path: Path, data: bytes) -> tuple[dict[str, object], list[str]]:
    path.write_bytes(data)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.metadata is not None
        return dict(checkpoint.specs), list(checkpoint.metadata)


def test_a_large_vocabulary_costs_its_strings(hub: Hub, tmp_path: Path) -> None:
    """All keys and tensors are those of the file; numbers per token and a tokenizer.json do not come."""
    data = gguf(VOCABULARY, ROWS)
    hub.add("acme/V-GGUF", {"v-F32.gguf": data})
    with open_remote(plan_pull(parse("acme/V-GGUF"), Wish())) as remote:
        metadata = remote.metadata
        assert metadata is not None
        assert (dict(remote.specs), list(metadata)) == local(tmp_path / "v.gguf", data)
        assert metadata["tokenizer.ggml.merges"][WORDS - 1] == f"w{WORDS - 1} {(WORDS - 1) ** 2}"
        assert metadata["general.name"] == "after the words"
        for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.huggingface.json"):
            assert key in metadata
            with pytest.raises(UsageError, match="only the headers are"):
                metadata[key]
    needed = len(VOCABULARY[0]) + len(VOCABULARY[3])
    assert needed < hub.sent("v-F32.gguf") < needed + (1 << 18) < len(b"".join(VOCABULARY)) - 1_800_000
    assert len([path for path, *_ in hub.log if path == "v-F32.gguf"]) < 16  # round trips


def test_a_header_without_a_vocabulary_costs_one_piece(hub: Hub) -> None:
    """As every part of a split model but the first has."""
    hub.add("acme/P-GGUF", {"p-F32.gguf": gguf([string("general.name", b"part")], ROWS)})
    with open_remote(plan_pull(parse("acme/P-GGUF"), Wish())) as remote:
        assert list(remote.specs) == list(ROWS)
    assert hub.sent("p-F32.gguf") == 1 << 16


def test_a_second_table_inside_a_string_is_not_believed(hub: Hub, tmp_path: Path) -> None:
    """The false table is right in count, offsets and the file's size: everything but the place that the keys give."""
    real, false = {"true.weight": 500_000, "tail.weight": 64}, {"lie.weight": 0, "tail.weight": 64}
    before = [strings("tokenizer.ggml.tokens", [b"w%d" % n for n in range(20_000)])]

    def file(lie: bytes) -> bytes:
        return gguf([*before, string("general.name", lie + b" " * (-len(lie) % 32))], real)

    whole, at = file(table(false)), file(table(false)).index(b"lie.weight") - 8
    end = at + len(table(false))
    false["lie.weight"] = (len(whole) - (end + -end % 32) - 4 * 64) // 4
    assert (end + -end % 32) + 4 * sum(false.values()) == len(whole), "the lie adds up"
    data = file(table(false))
    hub.add("acme/Two-GGUF", {"two-F32.gguf": data})
    with open_remote(plan_pull(parse("acme/Two-GGUF"), Wish())) as remote:
        assert dict(remote.specs) == local(tmp_path / "two.gguf", data)[0]
        assert list(remote.specs) == list(real)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([text(b"t") + struct.pack("<IIQ", 9, 8, 1000) + text(b"x") * 10 + struct.pack("<Q", 1 << 60)], "ends inside"),
        ([text(b"t") + struct.pack("<IIQ", 9, 8, 1 << 40)], "claims 1099511627776 strings"),
        ([text(b"tokenizer.x") + struct.pack("<IIQ", 9, 5, 1 << 40)], "claims 4398046511104 bytes"),
        ([string("tokenizer.x", b"")[:-8] + struct.pack("<Q", 1 << 62)], "claims 4611686018427387904 bytes"),
    ],
)
def test_lengths_that_lie(hub: Hub, keys: list[bytes], words: str) -> None:
    hub.add("acme/L-GGUF", {"l-F32.gguf": gguf(keys, {"a": 200_000})})
    with pytest.raises(CheckpointError, match=words), open_remote(plan_pull(parse("acme/L-GGUF"), Wish())):
        pass
    assert hub.sent("l-F32.gguf") <= 1 << 18


def test_a_header_of_any_length_is_not_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localq.checkpoints.gguf_pieces.LONGEST", 1 << 20)
    hub.add("acme/W-GGUF", {"w-F32.gguf": gguf(VOCABULARY, ROWS)})
    with (
        pytest.raises(CheckpointError, match="claims a header of over"),
        open_remote(plan_pull(parse("acme/W-GGUF"), Wish())),
    ):
        pass
    assert hub.sent("w-F32.gguf") <= (1 << 20) + (1 << 16)
