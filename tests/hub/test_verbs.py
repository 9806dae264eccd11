"""`pull`, `list` and `rm` as a user types them, against the loopback hub."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import FakeStdin, Result
from tests.factories import build, write_gguf, write_hf
from tests.hub.server import Hub, Trouble
from tests.hub.test_pull import SMALL, noise
from tests.hub.test_selection import GGUFS

Runner = Callable[..., Result]


@pytest.fixture
def localq(hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    from localq.cli.main import main

    def run(*args: str, stdin: str = "", terminal: bool = False) -> Result:
        monkeypatch.setattr(sys, "stdin", FakeStdin(stdin, terminal))
        code = main(list(args))
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(autouse=True)
def tiny(hub: Hub) -> None:
    hub.add("acme/Tiny", {**SMALL, "model.safetensors": noise(50_000)}, downloads=10)
    hub.add("acme/Tiny-GGUF", GGUFS)


def test_pull_list_rm(localq: Runner, hub: Hub) -> None:
    code, out, err = localq("pull", "acme/Tiny")
    assert code == 0 and Path(out.strip(), "model.safetensors").is_file()
    assert "acme/Tiny at " in err and "50.02 KB" in err and "\r" not in err and "#" not in err
    code, out, err = localq("ls")
    assert code == 0 and "acme/Tiny" in out and "safetensors" in out and "50.02 KB" in out
    assert json.loads(localq("list", "--json").out)["models"][0]["ref"] == "acme/Tiny"
    assert localq("rm", "acme/Tiny").code == 2
    assert localq("rm", "acme/Tiny", stdin="n\n", terminal=True).code == 1
    assert "acme/Tiny" in localq("ls").out
    code, out, err = localq("rm", "acme/Tiny", stdin="y\n", terminal=True)
    assert code == 0 and "frees 50.0" in err
    assert localq("ls").out == "" and localq("rm", "acme/Tiny", "-y").code == 3


def test_dry_run_says_whether_it_fits(localq: Runner, hub: Hub, tmp_path: Path) -> None:
    """The same verdict as `fit` gives the downloaded file, from its header alone."""
    gguf = write_gguf(build("llama"), tmp_path / "tiny.gguf", "f32")
    hub.add("acme/Real-GGUF", {"tiny-F32.gguf": gguf.read_bytes()})
    facts = json.loads(localq("pull", "acme/Real-GGUF", "--dry-run", "--json").out)
    there = json.loads(localq("fit", str(gguf), "--json").out)
    assert facts["fit"]["total"] == there["total"] and facts["fit"]["fits"]
    assert "localq: it fits on this machine" in localq("pull", "acme/Real-GGUF", "--dry-run").err


def test_fit_of_what_is_only_on_the_hub(
    localq: Runner, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_hf(build("llama"), tmp_path / "llama")
    hub.add("acme/Llama-1M", {p.name: p.read_bytes() for p in folder.iterdir()})
    there = json.loads(localq("fit", "acme/Llama-1M", "--memory", "24GB", "--json").out)
    assert there == json.loads(localq("fit", str(folder), "--memory", "24GB", "--json").out)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = localq("fit", "acme/Llama-1M")
    assert result.code == 3 and "Offline mode is on" in result.err and "localq pull acme/Llama-1M" in result.err


def test_dry_run_fetches_nothing(localq: Runner, hub: Hub, tmp_path: Path) -> None:
    code, out, err = localq("pull", "acme/Tiny-GGUF:Q8_0", "--dry-run")
    assert code == 0 and out.splitlines()[0].split() == ["file", "size", "here"]
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        "Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf"
    ]  # fmt: skip
    assert "121 B in all, 121 B to fetch" in err and not (tmp_path / "hf" / "hub").exists()
    facts = json.loads(localq("pull", "acme/Tiny", "--dry-run", "--json").out)
    assert facts["size"] == facts["to_fetch"] == 50_025 and facts["files"][0]["git_sha1"]


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["acme/Tinny"], 3, "no public repository 'acme/Tinny'.*acme/Tiny"),
        (["Tyni-9B"], 3, "The hub has no model"),
        (["acme/Tiny-GGUF"], 2, "has 5 builds"),
        (["acme/Tiny-GGUF:Q3_K_S"], 3, "no build labelled 'Q3_K_S'"),
        (["acme/Tiny", "--revision", "v2"], 3, "no revision 'v2'"),
        (["./nothing.gguf"], 3, "There is no './nothing.gguf'"),
        (["acme/../x"], 3, "There is no folder"),
        (["a b/c"], 2, "cannot be the name of a repository"),
    ],
)
def test_refusals(localq: Runner, args: list[str], code: int, words: str) -> None:
    result = localq("pull", *args)
    assert result.code == code and not result.out
    import re

    assert re.search(words, result.err, re.S), result.err


def test_what_is_here_needs_no_hub(localq: Runner, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    where = localq("pull", "acme/Tiny").out.strip()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, err = localq("pull", "acme/Tiny")
    assert (code, out.strip()) == (0, where) and "offline" in err.lower()
    assert localq("pull", "acme/Tiny-GGUF:Q8_0").code == 1
    assert "acme/Tiny" in localq("ls").out


def test_an_offline_run_says_how_to_fetch(localq: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    result = localq("run", "acme/Other:Q4_K_M", "hi")
    assert result.code == 3 and "localq pull acme/Other:Q4_K_M" in result.err


def test_a_terminal_gets_a_bar(localq: Runner, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.trouble["*"] = Trouble(delay=0.02, piece=4000)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    code, out, err = localq("pull", "acme/Tiny")
    assert code == 0 and "\r" in err and "/s" in err and "of 50.0" in err and "\r" not in out
