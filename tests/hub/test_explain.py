"""`localq explain org/name`: the name in words, then the headers of its files, fetched from a loopback hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localq.cli.main import main
from tests.factories import build, write_gguf
from tests.hub.server import Hub


@pytest.fixture
def repository(hub: Hub, tmp_path: Path) -> str:
    """A GGUF that calls itself Q4_K_M and holds float32."""
    file = write_gguf(build("llama"), tmp_path / "Tiny-8B-Q4_K_M.gguf", "f32")
    hub.add("acme/Tiny-8B-GGUF", {"Tiny-8B-Q4_K_M.gguf": Path(file).read_bytes()})
    return "acme/Tiny-8B-GGUF:Q4_K_M"


def test_name_and_truth_differ(repository: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", repository]) == 0
    out = capsys.readouterr().out
    assert "how weights are packed" in out and "Its files:" in out
    assert "The name says 4 bits; most weights are f32 (32 bits)" in out and "The name says 8B parameters" in out


def test_json_has_both(repository: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", repository, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["label"]["scheme"] == "Q4_K_M" and told["container"] == "gguf" and len(told["differences"]) >= 2


def test_without_the_hub_the_name_is_still_read(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "acme/Other-7B-GPTQ-Int4"]) == 0
    out, err = capsys.readouterr()
    assert "GPTQ" in out and "only the name was read" in err
    assert main(["explain", "acme/nothing"]) == 3
    assert main(["explain", "--offline", "acme/Other-7B-GPTQ-Int4"]) == 0
    assert not capsys.readouterr().err.count("only the name")
