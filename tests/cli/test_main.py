"""Dispatch, exit codes, and the shape of every error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localq.cli.main import VERBS, main
from localq.errors import DoesNotFitError
from tests.cli.conftest import Runner


def test_help_lists_every_verb(localq: Runner) -> None:
    code, out, err = localq("--help")
    assert code == 0 and not err
    assert all(f"  {verb}" in out for verb in VERBS)


def test_nothing_at_all_is_help_on_stderr(localq: Runner) -> None:
    code, out, err = localq()
    assert code == 2 and not out and "usage: localq" in err


def test_version(localq: Runner) -> None:
    from importlib.metadata import version

    assert localq("--version") == (0, f"localq {version('localq')}\n", "")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_the_common_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([verb, "--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    assert f"localq {verb}" in text and all(o in text for o in ("--quiet", "--verbose", "--debug"))


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["chta"], 2, "There is no verb 'chta'.\n  Did you mean 'localq chat'?"),
        (["frobnicate"], 2, "There is no verb 'frobnicate'.\n  Verbs are run, chat"),
        (["--frob"], 2, "Unknown option '--frob' before the verb."),
        (["run"], 2, "The following arguments are required: MODEL"),
        (["run", "demo", "hi", "--tempereture", "1"], 2, "Did you mean --temperature?"),
        (["run", "demo", "hi", "--temperature", "hot"], 2, "'hot' is not a number of 0 or more"),
        (["run", "demo", "hi", "--temperature", "-1"], 2, "'-1' is not a number of 0 or more"),
        (["run", "demo", "hi", "--top-p", "1.5"], 2, "'1.5' is not between 0 and 1"),
        (["run", "demo", "hi", "--max-tokens", "0"], 2, "'0' is not a whole number above 0"),
        (["run", "demo", "hi", "--seed", "-1"], 2, "'-1' is not a whole number of 0 or more"),
        (["run", "demo", "hi", "--engine", "cuda"], 2, "choose from"),
        (["run", "demo", "  "], 2, "The prompt is empty."),
        (["run", "demo", "hi", "--raw", "--system", "x"], 2, "--raw and --system exclude each other."),
        (["run", "no/such-model", "hi"], 3, "localq pull no/such-model"),
        (["run", "/no/such/file.gguf", "hi"], 3, "There is no folder '/no/such'"),
        (["explain", "nosuchthing"], 3, "no label localq can read"),
        (["chat", "/no/such/folder"], 3, "There is no folder '/no/such'"),
        (["bench", "./none.gguf"], 3, "There is no './none.gguf'"),
    ],
)
def test_wrong_input_is_one_sentence_and_the_right_code(localq: Runner, args: list[str], code: int, words: str) -> None:
    result = localq(*args)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith("localq: ") and words in result.err
    assert len(result.err.splitlines()) <= 2 and "Traceback" not in result.err


def test_no_prompt_on_a_terminal(localq: Runner) -> None:
    code, out, err = localq("run", "demo", terminal=True)
    assert code == 2 and err.startswith("localq: There is no prompt.")


def test_an_empty_pipe_is_an_empty_prompt(localq: Runner) -> None:
    assert localq("run", "demo", stdin="\n").code == 2


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (
            DoesNotFitError("It needs 20 GB; there are 8 GB.", "Take less."),
            4,
            "It needs 20 GB; there are 8 GB.\n  Take",
        ),
        (MemoryError(), 4, "not enough memory"),
        (PermissionError(13, "Permission denied", "x.gguf"), 1, "Permission denied: 'x.gguf'."),
        (ValueError("odd"), 1, "did not expect: ValueError: odd"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_a_verb_raises(
    localq: Runner, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, words: str
) -> None:
    def fail(*_: object) -> int:
        raise raised

    monkeypatch.setattr("localq.cli.formats.run", fail)
    result = localq("formats")
    assert result.code == code and words in result.err


def test_debug_shows_the_traceback(localq: Runner) -> None:
    from localq.errors import NotFoundError

    with pytest.raises(NotFoundError):
        localq("explain", "/no/such/file.gguf", "--debug")


def test_flags_may_stand_before_the_verb(localq: Runner, gguf_file: Path) -> None:
    code, out, _ = localq("--json", "explain", gguf_file)
    assert code == 0 and out.startswith("{")


def test_a_hostile_name_does_not_drive_the_terminal(localq: Runner) -> None:
    _, _, err = localq("explain", "./\x1b[2Jevil.gguf")
    assert "\x1b" not in err and "\\x1b[2Jevil.gguf" in err


def test_no_color_and_pipes_have_no_escapes(gguf_file: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "localq.cli.main", "explain", "/no/such.gguf"], capture_output=True, text=True
    )
    assert done.returncode == 3 and "\x1b" not in done.stderr


def test_a_reader_that_leaves_is_no_failure(gguf_file: Path) -> None:
    """`localq explain ... | head -c 0`: the pipe breaks, nothing is printed about it."""
    read, write = os.pipe()
    os.close(read)
    many = [str(gguf_file)] * 200  # more than a pipe's buffer would swallow
    done = subprocess.run(
        [sys.executable, "-m", "localq.cli.main", "explain", *many], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
