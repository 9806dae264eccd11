"""The Python face: real small models in both containers and engines, and everything refused in one sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import localq
from localq.api import Model
from localq.generate.reasoning import Piece
from localq.generate.samplers import Sampling
from localq.generate.template import ChatTemplate
from localq.generate.tokenizer import Tokenizer

CHAT = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
    "{% if x is defined %}{{ x }}{% endif %}"
)


class Letters:
    """One token a byte; 256 ends the answer, 257 and 258 are <think> and </think>."""

    def encode(self, text: str, parse_special: bool) -> list[int]:
        return list(text.encode())


class Parrot:
    """An engine that says what it was told to, and remembers what it was asked."""

    name, context, vocabulary, reused = "parrot", 64, 259, 0

    def __init__(self, says: Sequence[int]) -> None:
        self.says = list(says)
        self.asked: list[tuple[list[int], Sampling]] = []
        self.given = 0
        self.closed = False

    def logits(self, ids: Sequence[int]) -> Any:
        return np.zeros((len(ids), 259), np.float32)

    def generate(self, ids: Sequence[int], sampling: Sampling) -> Generator[int]:
        self.asked.append((list(ids), sampling))
        for token in self.says[: sampling.max_tokens]:
            self.given += 1
            yield token

    def close(self) -> None:
        self.closed = True


def parrot(says: str | Sequence[int], template: str | None = CHAT, **defaults: Any) -> tuple[Model, Parrot]:
    pieces = [*(bytes((b,)) for b in range(256)), b"<eos>", b"<think>", b"</think>"]
    ids = {"<think>": 257, "</think>": 258}
    tokenizer = Tokenizer(Letters(), pieces, frozenset({256}), frozenset({256}), (1,), ids=ids)
    engine = Parrot(list(says.encode()) if isinstance(says, str) else says)
    chat = None if template is None else ChatTemplate(template)
    return Model(engine, tokenizer, chat, defaults=defaults), engine


def asked(engine: Parrot) -> str:
    return bytes(engine.asked[-1][0]).decode()


def test_a_text_becomes_a_user_message() -> None:
    model, engine = parrot("Hi")
    assert model.generate("Hello") == "Hi"
    assert asked(engine) == "<user>Hello<a>"
    model.generate("Hello", system="Be kind.")
    assert asked(engine) == "<system>Be kind.<user>Hello<a>"
    model.generate([{"role": "user", "content": "x"}], template_variables={"x": "!"})
    assert asked(engine) == "<user>x<a>!"
    model.generate("Hello", raw=True)
    assert asked(engine) == "\x01Hello"


def test_without_a_template() -> None:
    model, engine = parrot("Hi", template=None)
    assert model.generate("Hello") == "Hi"
    assert asked(engine) == "\x01Hello"
    with pytest.raises(localq.UsageError, match="no chat template") as caught:
        model.generate([{"role": "user", "content": "x"}])
    assert "--raw" in caught.value.hint
    with pytest.raises(localq.UsageError, match="system"):
        model.generate("x", system="y")


def test_the_end_of_an_answer() -> None:
    model, _ = parrot([*b"Hello", 256, *b"more"])
    reply = model.chat_pieces("x")
    assert "".join(p.text for p in reply) == "Hello"
    assert (reply.stats.finish_reason, reply.stats.generated_tokens) == ("stop", 6)
    assert reply.stats.prompt_tokens == len("<user>x<a>")
    assert reply.stats.time_to_first_token is not None
    assert reply.stats.prefill_tokens_per_second is not None
    assert reply.stats.decode_tokens_per_second is not None
    reply = model.chat_pieces("x", max_tokens=3)
    assert "".join(p.text for p in reply) == "Hel"
    assert (reply.stats.finish_reason, reply.stats.generated_tokens) == ("length", 3)


def test_stop_strings_end_the_work() -> None:
    model, engine = parrot("one END two END")
    reply = model.chat_pieces("x", stop=["END"])
    assert "".join(p.text for p in reply) == "one "
    assert reply.stats.finish_reason == "stop"
    assert engine.given == len("one END")


def test_a_held_back_stop_string_is_given_at_the_end() -> None:
    model, _ = parrot("the EN")
    assert model.generate("x", stop="END") == "the EN"


def test_half_a_character_is_never_shown() -> None:
    model, _ = parrot("é🚀")
    assert [p.text for p in model.chat_pieces("x")] == ["é", "🚀"]
    model, _ = parrot("🚀".encode()[:3])
    assert model.generate("x") == "\ufffd"


def test_reasoning_is_apart() -> None:
    model, _ = parrot([257, *b"\nhm", 258, *b"\n\nYes", 256])
    pieces = list(model.chat_pieces("x"))
    assert {p.kind for p in pieces} == {"reasoning", "text"}
    assert "".join(p.text for p in pieces if p.kind == "reasoning") == "hm"
    assert model.generate("x") == "Yes"
    begun, _ = parrot([*b"hm", 258, *b"Yes", 256], template=CHAT + "<think>\n")
    assert list(begun.chat_pieces("x"))[0] == Piece("reasoning", "h")


def test_closing_cancels() -> None:
    model, engine = parrot("a" * 40)
    stream = model.stream("x")
    assert next(stream) == "a"
    stream.close()  # type: ignore[attr-defined]
    assert engine.given == 1
    reply = model.chat_pieces("x")
    next(reply)
    reply.close()
    assert list(reply) == []
    assert reply.stats.finish_reason is None


def test_options() -> None:
    model, engine = parrot("a", temperature=0.3, top_k=9)
    model.generate("x", top_k=4, seed=5)
    sampling = engine.asked[-1][1]
    assert (sampling.temperature, sampling.top_k, sampling.seed) == (0.3, 4, 5)


@pytest.mark.parametrize(
    ("prompt", "options", "error", "words"),
    [
        ("x", {"temperature": -1}, localq.UsageError, "temperature is -1"),
        ("x", {"temprature": 1}, localq.UsageError, "temprature"),
        ([], {}, localq.UsageError, "empty"),
        ([{"content": "x"}], {}, localq.UsageError, "role"),
        ([{"role": "user", "content": "x"}], {"raw": True}, localq.UsageError, "raw"),
        ("x" * 64, {}, localq.DoesNotFitError, "73 tokens.* 64"),
        ("x" * 63, {"raw": True}, localq.DoesNotFitError, "64 tokens.* 64"),
        ("\ud800", {"raw": True}, localq.UsageError, "half a character"),
    ],
)
def test_refused(prompt: Any, options: dict[str, Any], error: type[Exception], words: str) -> None:
    model, engine = parrot("a")
    with pytest.raises(error, match=words):
        model.chat_pieces(prompt, **options)
    assert engine.asked == []


def test_the_template_refuses() -> None:
    model, _ = parrot("a", template="{{ raise_exception('Only one turn, please.') }}")
    with pytest.raises(localq.CheckpointError, match="Only one turn, please"):
        model.generate("x")


STORIES = ["stories260K-hf", "stories260K/stories260K.gguf"]


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("engine", ["mlx", "llama"])
def test_the_golden_story(data_dir: Path, name: str, engine: str) -> None:
    """The greedy text llama2.c tells, whatever the container and the engine."""
    if engine == "llama":
        pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
        if not name.endswith(".gguf"):
            pytest.skip("llama.cpp reads GGUF only")
    golden = (data_dir / "models" / "stories260K" / "golden.txt").read_text()
    with localq.load(str(data_dir / "models" / name), engine=engine) as model:
        text = model.generate("", raw=True, temperature=0, max_tokens=len(model.tokenizer.encode(golden)) - 6)
    assert len(text) > 300
    assert golden.strip().startswith(text.strip())


def test_chat_in_both_containers(data_dir: Path) -> None:
    said = set()
    for name in ("tinychat", "tinychat-gguf/tinychat-Q8_0.gguf"):
        with localq.load(str(data_dir / "models" / name), engine="mlx", context=256) as model:
            assert model.context == 256
            reply = model.chat_pieces("Once upon a time", temperature=0, max_tokens=40)
            said.add("".join(p.text for p in reply))
            assert reply.stats.generated_tokens == 40
            logits = model.logits([1, 2, 3])
            assert (logits.dtype, logits.shape) == (np.float32, (3, 2048))
    assert len(said) == 1
    assert "little girl" in said.pop()


def test_second_turn_reuses_the_first(data_dir: Path) -> None:
    with localq.load(str(data_dir / "models" / "tinychat"), engine="mlx") as model:
        messages = [{"role": "user", "content": "Tell me a story."}]
        answer = model.generate(messages, temperature=0, max_tokens=30)
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": "And then?"}]
        model.generate(messages, temperature=0, max_tokens=5)
        assert model.engine.reused > 30


def test_load_refuses(data_dir: Path, tmp_path: Path) -> None:
    folder = str(data_dir / "models" / "tinychat")
    with pytest.raises(localq.UsageError, match="kv_cache_dtype is 'fp8'"):
        localq.load(folder, kv_cache_dtype="fp8")
    with pytest.raises(localq.UsageError, match="engine 'vllm'"):
        localq.load(folder, engine="vllm")
    with pytest.raises(localq.DoesNotFitError, match="5000.*1024"):
        localq.load(folder, context=5000)
    with pytest.raises(localq.NotFoundError):
        localq.load(str(tmp_path / "nothing"))
    vocab = data_dir / "models" / "ggml-vocab" / "ggml-vocab-gpt-2.gguf"
    with pytest.raises(localq.UnsupportedError, match="no weights"):
        localq.load(str(vocab), engine="mlx")


def test_a_wrong_generation_config_is_named(data_dir: Path, tmp_path: Path) -> None:
    for file in (data_dir / "models" / "tinychat").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "generation_config.json").write_text('{"temperature": -3}')
    with pytest.raises(localq.CheckpointError, match="generation_config.json: temperature is -3"):
        localq.load(str(tmp_path))


def test_importing_localq_imports_nothing_heavy() -> None:
    code = (
        "import sys, localq; assert 'load' in dir(localq);"
        "bad = {'numpy', 'mlx', 'mlx_lm', 'transformers', 'dataclasses', 'json'} & set(sys.modules);"
        "assert not bad, bad;"
        "assert localq.UsageError.exit_code == 2; assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_generating_needs_no_transformers_for_text() -> None:
    code = (
        "import sys; import localq.generate.tokenizer, localq.generate.template, localq.generate.tokenizer_gguf;"
        "assert 'transformers' not in sys.modules and 'mlx_lm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there() -> None:
    for name in localq.__all__:
        assert getattr(localq, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = localq.nonsense
