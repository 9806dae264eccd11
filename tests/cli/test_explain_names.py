"""`localq explain` of names alone: labels, formats, pictures, several at once; no network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Runner


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_a_label_in_words(localq: Runner) -> None:
    code, out, err = localq("explain", "Qwen3.6-32B-Instruct-AWQ")
    assert code == 0 and not err
    for words in (
        "the family of models",
        "32 billion",
        "tuned to follow instructions",
        "compressed-tensors int4 or MLX",
    ):
        assert words in out


def test_json_holds_the_contract(localq: Runner) -> None:
    code, out, _ = localq("explain", "Qwen3.6-27B-UD-Q4_K_XL-00002-of-00003.gguf", "--json")
    told = json.loads(out)["label"]
    assert code == 0 and told["scheme"] == "UD-Q4_K_XL" and told["shard"] == [2, 3] and told["parameters"] == 27 * 10**9


def test_several_names_and_a_bad_one(localq: Runner) -> None:
    code, out, err = localq("explain", "Q4_K_M", "nosuchthing", "W8A8", "org/Foo-7B-GPTQ-Int4")
    assert code == 3 and "nosuchthing" in err and "no label localq can read" in err
    assert out.count("packing") == 3 and "4.89 bits per weight" in out


def test_every_registered_format_by_its_own_name(localq: Runner) -> None:
    from localq.formats import FORMATS

    for name in FORMATS:
        code, out, _ = localq("explain", name)
        assert code == 0 and ("bits" in out), name


def test_pictures(localq: Runner, tmp_path: Path) -> None:
    code, out, _ = localq("explain", "NVFP4", "--picture")
    assert code == 0 and "15 values from -6 to 6" in out
    file = tmp_path / "formats.svg"
    code, out, err = localq("explain", "Q8_0", "BF16", "--picture", "-o", file)
    assert code == 0 and file.read_text().startswith("<svg") and "INT8, BF16" in err
    assert localq("explain", "IQ2_XXS", "--picture").code == 2
    assert localq("explain", "Q8_0", "-o", file).code == 2


def test_a_hostile_name_cannot_drive_the_terminal(localq: Runner) -> None:
    code, out, _ = localq("explain", "Foo\x1b[2J-7B-Q4_K_M")
    assert code == 0 and "\x1b" not in out


def test_a_path_that_is_not_there_is_no_label(localq: Runner) -> None:
    assert localq("explain", "./Foo-Q4_K_M.gguf").code == 3
    assert localq("explain", "Foo-7B-Q4_K_M.gguf").code == 0
