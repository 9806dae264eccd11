"""The grammar of names against a table of real ones, read over by hand, and against names nobody would write."""

from __future__ import annotations

import random
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from localq.labels import Label, read_label

TABLE = Path(__file__).with_name("names.txt")


def _table() -> list[tuple[str, dict[str, Any]]]:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [(name, _fields(text)) for name, _, text in (line.partition("\t") for line in lines)]


def _fields(text: str) -> dict[str, Any]:
    return {key: _value(key, value) for key, value in (field.split("=", 1) for field in text.split())}


def _value(key: str, text: str) -> Any:
    if key in ("parameters", "active_parameters"):
        return int(Decimal(text.removesuffix("B")) * 10**9)
    if key in ("weight_bits", "activation_bits", "kv_bits", "group_size"):
        return float(text) if "." in text else int(text)
    if key == "shard":
        one, _, total = text.partition("/")
        return int(one), int(total)
    return True if text == "yes" else text


NAMES = _table()


def test_the_table_is_large() -> None:
    assert len({name for name, _ in NAMES}) == len(NAMES) >= 300


@pytest.mark.parametrize(("name", "expected"), NAMES, ids=[name for name, _ in NAMES])
def test_every_field_of_a_real_name(name: str, expected: dict[str, Any]) -> None:
    assert read_label(name).to_dict() == expected


@pytest.mark.parametrize("name", [name for name, _ in NAMES])
def test_case_does_not_matter(name: str) -> None:
    for other in (name.lower(), name.upper(), name.swapcase()):
        assert _folded(read_label(other)) == _folded(read_label(name)), other


@pytest.mark.parametrize("name", [name for name, _ in NAMES])
def test_separators_do_not_matter(name: str) -> None:
    """Hyphens, underscores and spaces stand for each other; a dot for them too, where it makes no decimal point."""
    head, slash, tail = name.rpartition("/")
    for old, new in (("-", "_"), ("_", "-"), ("-", " "), ("_", " ")):
        other = head + slash + tail.replace(old, new)
        assert _folded(read_label(other)) == _folded(read_label(name)), other


def _folded(label: Label) -> dict[str, Any]:
    return {k: v.casefold().replace("_", "-").replace(" ", "-") if isinstance(v, str) else v
            for k, v in label.to_dict().items()}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, _ in NAMES])
def test_pieces_are_the_name(name: str) -> None:
    """Every piece is a part of the name; whatever is unknown is a piece too; a reading prints."""
    label = read_label(name)
    assert all(piece.text in name for piece in label.pieces)
    assert set(label.unknown) == {p.text for p in label.pieces if p.kind == "unknown"}
    assert str(label) and read_label(name) == label


def test_what_a_name_leaves_open_is_said() -> None:
    assert read_label("Qwen3.6-32B-Instruct-AWQ").notes == (
        "AWQ: AutoAWQ, compressed-tensors int4 or MLX; look at the config.",
    )
    assert "experts of 7B" in read_label("Mixtral-8x7B-v0.1").notes[0]
    assert "effective" in read_label("gemma-4-E2B-it").notes[0]
    assert read_label("Qwen3-8B-frobnet-4bit").unknown == ("frobnet",)


@pytest.mark.parametrize(
    "name",
    ["", " ", "/", "//", ":", "@", "hf://", "https://huggingface.co/", ".", "..", "-", "\\", "\x00", "a" * 10_000]
    + ["½", "²-bit", "٤bit", "𝟜bit", "ß" * 300, "İ" * 300, "00000-of-00000", "00009-of-00002", "w99a99", "0x0b"],
)  # fmt: skip
def test_nothing_there_claims_nothing(name: str) -> None:
    claimed = set(read_label(name).to_dict())
    assert claimed <= {"family"}, claimed


_FRAGMENTS = (
    "Q4", "_K", "_M", "iq2", "xxs", "-", "_", ".", "1", "27B", "8x7B", "00001", "-of-", "v1", "fp8", "int4", "bit",
    "gs", "a3b", "qwen", "qwen3", "gpt", "oss", "/", "hf://", "https://huggingface.co/", "blob/", "i1", "ud", "\\",
    "½", " ", ":", "@", "aqlm", "1x16", "w4a16", "2507", "é", "漢", "\n", "0.6B", "1.1.1", "kv", "group", "size",
)  # fmt: skip


def test_any_string_is_read_and_at_once() -> None:
    """Never an exception, never a loop: up to 10,000 characters in under 10 ms (best of three)."""
    chance = random.Random(20261123)
    names = [(a + b) * 5000 for a in _FRAGMENTS[::3] for b in _FRAGMENTS[::4]]
    names += ["".join(chance.choice(_FRAGMENTS) for _ in range(5000)) for _ in range(100)]
    names += ["".join(chr(chance.randrange(1, 0x3000)) for _ in range(10_000)) for _ in range(30)]
    names += ["".join(chance.choice(_FRAGMENTS) for _ in range(chance.randrange(12))) for _ in range(3000)]
    for name in names:
        name = name[:10_000]
        assert min(_seconds(name) for _ in range(3)) < 0.01, name[:60]


def _seconds(name: str) -> float:
    start = time.thread_time()
    label = read_label(name)
    label.to_dict()
    str(label)
    return time.thread_time() - start
