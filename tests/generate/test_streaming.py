"""Detokenising, stop strings and reasoning: any split of any text gives the same whole, and no half characters."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from localq.checkpoints import open_checkpoint
from localq.generate.detokenize import Detokenizer
from localq.generate.reasoning import Piece, ReasoningSplitter, Style, reasoning_style, thinking_begun
from localq.generate.stop import StopStrings
from localq.generate.tokenizer import open_tokenizer
from tests.generate.texts import LINES, TEXT

VOCABS = ["tinychat", "stories260K-hf", "tinychat-gguf/tinychat-Q8_0.gguf", "stories260K/stories260K.gguf"]


def splits(text: str, rng: random.Random) -> Iterator[str]:
    while text:
        size = rng.choice([1, 1, 2, 3, 7, 30])
        yield text[:size]
        text = text[size:]


@pytest.mark.parametrize("name", VOCABS)
def test_stream_is_the_whole(data_dir: Path, name: str) -> None:
    with open_checkpoint(data_dir / "models" / name) as ckpt:
        tokenizer = open_tokenizer(ckpt)
    for text in [TEXT, *LINES]:
        ids = tokenizer.encode(text, parse_special=False)
        stream = tokenizer.detokenizer()
        pieces = [*map(stream.add, ids), stream.finish()]
        assert "".join(pieces) == tokenizer.decode(ids) == text
        assert not any("\ufffd" in p for p in pieces)


@pytest.mark.parametrize("seed", range(20))
def test_bytes_cut_anywhere(seed: int) -> None:
    """Tokens of random bytes of a text: every piece is whole characters of it, in order."""
    rng = random.Random(seed)
    data = TEXT.encode()
    cuts = sorted({0, len(data), *rng.choices(range(len(data)), k=400)})
    tokens = [data[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    stream, at = Detokenizer(tokens), 0
    for i in range(len(tokens)):
        piece = stream.add(i)
        assert TEXT.startswith(piece, at)
        at += len(piece)
        assert len(TEXT[:at].encode()) > cuts[i + 1] - 4  # nothing whole is held back
    assert stream.finish() == ""
    assert at == len(TEXT)


def test_broken_bytes_become_replacement_characters() -> None:
    stream = Detokenizer([b"a\xf0\x9f", b"b", b"\xe2\x82"])
    assert stream.add(0) == "a"
    assert stream.add(1) == "\ufffdb"
    assert stream.add(2) == ""
    assert stream.finish() == "\ufffd"


def test_the_first_space() -> None:
    pieces = [b" ", b" a", b"", b"b"]
    assert [Detokenizer(pieces, strip_space=True).add(i) for i in (1, 3)] == ["a", "b"]
    stream = Detokenizer(pieces, strip_space=True)
    assert [stream.add(i) for i in (2, 0, 1)] == ["", "", " a"]
    assert Detokenizer(pieces).add(1) == " a"
    assert Detokenizer(pieces, hidden={1}).add(1) == Detokenizer(pieces).add(99) == ""


def stopped(text: str, stops: list[str], pieces: Iterator[str] | list[str]) -> tuple[str, str | None]:
    matcher = StopStrings(stops)
    out = "".join(map(matcher.add, pieces))
    return out + matcher.finish(), matcher.hit


@pytest.mark.parametrize("seed", range(300))
def test_stop_strings_whatever_the_split(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choices("ab\n🚀", k=rng.randrange(1, 40)))
    stops = ["".join(rng.choices("ab\n🚀", k=rng.randrange(1, 6))) for _ in range(rng.randrange(0, 4))]
    first = min((text.find(s) for s in stops if s in text), default=None)
    out, hit = stopped(text, stops, splits(text, rng))
    assert out == (text if first is None else text[:first])
    assert (hit is None) == (first is None)
    assert hit is None or text.startswith(hit, len(out))


def test_stop_strings_hold_back_only_what_may_be_one() -> None:
    matcher = StopStrings(["\n\nUser:", "END"])
    assert matcher.add("Hello\n") == "Hello"
    assert matcher.add("\nUs") == ""
    assert matcher.add("ual E") == "\n\nUsual "
    assert matcher.add("ND more") == ""
    assert matcher.hit == "END"
    assert matcher.add("x") == matcher.finish() == ""


THINK = Style(marks=("<think>", "</think>"))
HARMONY = Style(channels=True)


def told(style: Style, pieces: Iterator[str] | list[str], inside: bool = False) -> dict[str, str]:
    splitter = ReasoningSplitter(style, inside)
    out = {"text": "", "reasoning": ""}
    for piece in [*(p for text in pieces for p in splitter.add(text)), *splitter.finish()]:
        assert piece.text
        out[piece.kind] += piece.text
    return out


@pytest.mark.parametrize("seed", range(30))
def test_reasoning_whatever_the_split(seed: int) -> None:
    rng = random.Random(seed)
    text = "<think>\nLet me see: 1 < 2 </thin\n</think>\n\nThe <b>answer</b>."
    assert told(THINK, splits(text, rng)) == {
        "reasoning": "Let me see: 1 < 2 </thin\n",
        "text": "The <b>answer</b>.",
    }
    begun = text.removeprefix("<think>")
    assert told(THINK, splits(begun, rng), inside=True) == told(THINK, [text])
    harmony = (
        "<|channel|>analysis<|message|>Hm <|x|> ok<|end|><|start|>assistant<|channel|>commentary<|message|>I will."
        "<|end|><|start|>assistant<|channel|>final<|message|>The answer."
    )
    assert told(HARMONY, splits(harmony, rng)) == {"reasoning": "Hm <|x|> ok", "text": "I will.The answer."}
    assert told(Style(), splits(text, rng)) == {"reasoning": "", "text": text}


def test_pieces_come_as_soon_as_they_are_certain() -> None:
    splitter = ReasoningSplitter(THINK)
    assert list(splitter.add("a <")) == [Piece("text", "a ")]
    assert list(splitter.add("b")) == [Piece("text", "<b")]
    assert list(splitter.add("<think>x")) == [Piece("reasoning", "x")]


def test_which_style() -> None:
    assert reasoning_style({"<think>": 1, "</think>": 2}) == THINK
    assert reasoning_style({}, "{{ '<think>' }} {{ '</think>' }}") == THINK
    assert reasoning_style({"[THINK]": 1, "[/THINK]": 2}).marks == ("[THINK]", "[/THINK]")
    assert reasoning_style({"<|channel|>": 1, "<|message|>": 2}) == HARMONY
    assert reasoning_style({"<think>": 1}, "plain") == Style()
    assert thinking_begun("<|im_start|>assistant\n<think>\n", THINK)
    assert not thinking_begun("<|im_start|>assistant\n<think>\n\n</think>\n\n", THINK)
    assert not thinking_begun("<think>", Style())
