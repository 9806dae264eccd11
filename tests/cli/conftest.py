"""Running a verb in this process: exit code, stdout and stderr."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.factories import build, write_gguf, write_hf


class Result(NamedTuple):
    code: int
    out: str
    err: str


Runner = Callable[..., Result]


class FakeStdin(io.StringIO):
    """Text on stdin; `terminal` says whether somebody types it."""

    def __init__(self, text: str, terminal: bool = False) -> None:
        super().__init__(text)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def localq(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Runner:
    """Call `localq ARGS...` with an empty configuration and cache; `stdin=` text, `terminal=` who gives it."""
    from localq.cli.main import main

    monkeypatch.setenv("LOCALQ_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    def run(*args: str | Path, stdin: str = "", terminal: bool = False) -> Result:
        monkeypatch.setattr(sys, "stdin", FakeStdin(stdin, terminal))
        code = main([str(a) for a in args])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random llama as a Hugging Face folder with chat template."""
    return write_hf(build("llama"), tmp_path_factory.mktemp("tiny") / "llama")


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a GGUF of floats."""
    return write_gguf(build("llama"), tmp_path_factory.mktemp("tiny") / "tiny.gguf", "f32")
