"""`run`, `chat`, `bench` and `doctor` on a tiny random model (its words are noise; what is asked of it is not)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import FakeStdin, Runner

GREEDY = ("--temperature", "0", "--max-tokens", "6")


def expected(folder: Path, messages: list[dict[str, str]] | str, **options: object) -> str:
    """What the Python API answers: the command line must say the same."""
    import localq

    return localq.load(str(folder)).generate(messages, temperature=0.0, max_tokens=6, **options)


def test_run_prints_the_answer_and_nothing_else(localq: Runner, folder: Path) -> None:
    code, out, err = localq("run", folder, "Hello", *GREEDY)
    assert (code, err) == (0, "")
    assert out == expected(folder, "Hello") + "\n"


def test_the_prompt_may_come_from_stdin(localq: Runner, folder: Path) -> None:
    assert localq("run", folder, *GREEDY, stdin="Hello").out == localq("run", folder, "Hello", *GREEDY).out
    assert localq("run", folder, "-", *GREEDY, stdin="Hello").out == localq("run", folder, "Hello", *GREEDY).out


def test_raw_and_system_reach_the_model(localq: Runner, folder: Path) -> None:
    assert localq("run", folder, "Hello", "--raw", *GREEDY).out == expected(folder, "Hello", raw=True) + "\n"
    spoken = localq("run", folder, "Hello", "--system", "Be brief", *GREEDY).out
    assert spoken == expected(folder, "Hello", system="Be brief") + "\n"


def test_seeds_repeat(localq: Runner, folder: Path) -> None:
    hot = ("run", folder, "Hello", "--temperature", "1.5", "-n", "12")
    assert localq(*hot, "--seed", "7").out == localq(*hot, "--seed", "7").out
    assert len({localq(*hot, "--seed", str(seed)).out for seed in range(4)}) > 1


def test_stats_go_to_stderr(localq: Runner, folder: Path) -> None:
    code, _, err = localq("run", folder, "Hello", *GREEDY, "--stats")
    assert code == 0 and "answer 6 tokens" in err and "tokens/s" in err


def test_settings_reach_the_model(localq: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_MAX_TOKENS", "3")
    _, _, err = localq("run", folder, "Hello", "--temperature", "0", "--stats")
    assert "answer 3 tokens" in err
    monkeypatch.setenv("LOCALQ_MAX_TOKENS", "three")
    code, _, err = localq("run", folder, "Hello")
    assert code == 2 and "LOCALQ_MAX_TOKENS" in err


def test_a_prompt_longer_than_the_context(localq: Runner, folder: Path) -> None:
    code, out, err = localq("run", folder, "word " * 2000, *GREEDY)
    assert (code, out) == (4, "") and "512" in err


def test_a_kv_cache_type_that_is_not_there_is_refused(localq: Runner, folder: Path) -> None:
    code, out, err = localq("run", folder, "Hello", "--kv-cache-dtype", "fp8")
    assert (code, out) == (2, "") and "fp8" in err


def test_an_architecture_nobody_knows(localq: Runner, folder: Path, tmp_path: Path) -> None:
    import shutil

    other = shutil.copytree(folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "model_type": "frobnet", "architectures": ["FrobNet"]}))
    code, out, err = localq("run", other, "Hello")
    assert (code, out) == (5, "") and "frobnet" in err


def test_chat_remembers_until_it_is_cleared(localq: Runner, folder: Path) -> None:
    code, out, err = localq("chat", folder, *GREEDY, stdin="Hello\nAgain\n\n/clear\nHello\n/exit\nnever\n")
    first = expected(folder, "Hello")
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": first}]
    second = expected(folder, [*turns, {"role": "user", "content": "Again"}])
    assert code == 0 and "forgotten" in err
    assert out == f"{first}\n{second}\n{first}\n"


def test_chat_commands(localq: Runner, folder: Path) -> None:
    code, out, err = localq("chat", folder, *GREEDY, stdin="/stats\n/system Be brief\n/help\n/hepl\n")
    assert (code, out) == (2, "")
    for words in ("Nothing was answered yet", "System message: Be brief", "/clear", "Did you mean /help?"):
        assert words in err


def test_chat_without_a_template_is_refused(localq: Runner, folder: Path, tmp_path: Path) -> None:
    import shutil

    bare = shutil.copytree(folder, tmp_path / "bare")
    config = json.loads((bare / "tokenizer_config.json").read_text())
    config.pop("chat_template")
    (bare / "tokenizer_config.json").write_text(json.dumps(config))
    code, out, err = localq("chat", bare, stdin="Hello\n")
    assert (code, out) == (2, "") and "--raw" in err
    code, out, err = localq("run", bare, "Hello", *GREEDY)
    assert code == 0 and "continued as it stands" in err


def test_ctrl_c_stops_the_answer_and_not_the_program(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A terminal's user presses Ctrl-C after two pieces; what was said stays in the conversation."""
    import sys

    import localq
    from localq.cli.chat import Chat
    from localq.generate.reply import Reply

    chat = Chat(localq.load(str(folder)), {"temperature": 0.0, "max_tokens": 50}, None)
    monkeypatch.setattr(sys, "stdin", FakeStdin("", terminal=True))
    following, count = Reply.__next__, iter(range(100))

    def interrupted(self: Reply) -> object:
        if next(count) == 2:
            raise KeyboardInterrupt
        return following(self)

    monkeypatch.setattr(Reply, "__next__", interrupted)
    chat.take("Hello")
    assert "[stopped]" in capsys.readouterr().err
    assert [m["role"] for m in chat.messages] == ["user", "assistant"] and chat.messages[1]["content"]
    chat.take("Again")
    assert len(chat.messages) == 4


def test_ctrl_c_in_a_pipe_is_130(localq: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr("localq.generate.reply.Reply.__next__", interrupt)
    assert localq("chat", folder, stdin="Hello\n").code == 130


def test_bench(localq: Runner, folder: Path) -> None:
    code, out, _ = localq("bench", folder, "-p", "16", "-n", "8", "-r", "1", "--json")
    told = json.loads(out)
    assert code == 0 and (told["prompt_tokens"], told["answer_tokens"]) == (16, 8)
    assert told["decode_tokens_per_second"] > 0 and told["peak_memory"] > 1 << 20
    from localq import open_checkpoint

    with open_checkpoint(folder) as ckpt:
        table = ckpt.specs["model.embed_tokens.weight"].nbytes
        assert told["bytes_per_token"] == ckpt.nbytes - table  # this llama has an output head of its own
    bound = told["bandwidth_gb_per_s"] * 1e9 / told["bytes_per_token"]
    assert told["share_of_bound"] == pytest.approx(told["decode_tokens_per_second"] / bound, rel=1e-2)


def test_bench_of_more_than_the_context(localq: Runner, folder: Path) -> None:
    assert localq("bench", folder, "-p", "600").code == 4


def test_doctor_has_a_command_for_every_problem(localq: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_TEMPERATUR", "1")
    code, out, _ = localq("doctor", "--json")
    told = json.loads(out)
    problems = [f for f in told["findings"] if f["state"] == "problem"]
    assert code == 1 and not told["healthy"]
    assert {"LOCALQ_TEMPERATUR means nothing to localq"} <= {p["words"] for p in problems}
    assert all(p["command"] for p in problems)


def test_doctor_checks_kernels(localq: Runner) -> None:
    from localq.formats import FORMATS

    told = json.loads(localq("doctor", "--kernels", "--json").out)
    assert {k["format"] for k in told["kernels"] if k["op"] != "golden"} == {
        fmt.name for family in FORMATS.values() for fmt in family.examples()
    }
    assert all(k["ok"] for k in told["kernels"])


def test_doctor_reports_a_wrong_kernel(localq: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlx.core as mx

    from localq.kernels import reference

    monkeypatch.setattr(reference, "matmul", lambda x, t: mx.zeros((*x.shape[:-1], t.shape[-2])))
    code, out, _ = localq("doctor", "--kernels")
    assert code == 1 and "WRONG" in out and "export LOCALQ_KERNELS=reference" in out


def test_doctor_reports_half_a_download(localq: Runner, tmp_path: Path) -> None:
    blobs = tmp_path / "hub" / "models--acme--Tiny" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "0123.incomplete").write_bytes(b"x" * 10)
    _, out, _ = localq("doctor")
    assert "acme/Tiny is half downloaded" in out and "$ localq pull acme/Tiny" in out
