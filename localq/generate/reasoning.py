"""Answers apart from the thinking before them: every piece of text is tagged "text" or "reasoning".

Two ways models mark thinking:
    marks     `<think> ... </think>` and the like; a template may already have written the opening one
    channels  gpt-oss (OpenAI harmony): `<|channel|>analysis<|message|> ... <|end|>`; channel "analysis" is reasoning,
              every other channel text, headers between messages are dropped
Which one a model uses is read from its vocabulary and template; a model with neither has only text. White space
right after a mark is dropped, everything else is passed on unchanged and as soon as it is certain.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Literal, NamedTuple

Kind = Literal["text", "reasoning"]
MARKS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
    ("<thinking>", "</thinking>"),
)
CHANNEL_TOKENS = ("<|channel|>", "<|message|>", "<|end|>", "<|start|>")


class Piece(NamedTuple):
    """A stretch of an answer."""

    kind: Kind
    text: str


class Style(NamedTuple):
    """How a model marks its thinking: `marks` (opening, closing), or channels; neither: only text."""

    marks: tuple[str, str] | None = None
    channels: bool = False

    @property
    def tokens(self) -> tuple[str, ...]:
        """Tokens that must stay visible in the text for the splitter to see them."""
        return CHANNEL_TOKENS if self.channels else self.marks or ()


def reasoning_style(tokens: Container[str], template: str = "") -> Style:
    """The style of a model, from its added tokens and its chat template."""
    if all(t in tokens for t in ("<|channel|>", "<|message|>")):
        return Style(channels=True)
    for marks in MARKS:
        if all(m in tokens for m in marks) or (marks[1] in template and marks[0] in template):
            return Style(marks=marks)
    return Style()


def thinking_begun(prompt: str, style: Style) -> bool:
    """Has the prompt (as the template wrote it) opened the thinking already?"""
    return style.marks is not None and prompt.rstrip().endswith(style.marks[0])


class ReasoningSplitter:
    """Text in, tagged pieces out; marks may be cut anywhere."""

    def __init__(self, style: Style, inside: bool = False) -> None:
        """`inside`: the text begins within the thinking (see `thinking_begun`)."""
        self._style = style
        self._kind: Kind = "reasoning" if inside else "text"
        self._fresh = inside  # right after a mark: white space is dropped
        self._header: str | None = None  # of a channel message, until <|message|>
        self._held = ""
        marks = style.tokens
        self._mark = re.compile("|".join(map(re.escape, marks))) if marks else None

    def add(self, text: str) -> Iterator[Piece]:
        """Pieces that are certain."""
        if self._mark is None:
            if text:
                yield Piece("text", text)
            return
        text = self._held + text
        keep = self._begun(text)
        text, self._held = text[: len(text) - keep], text[len(text) - keep :]
        at = 0
        for match in self._mark.finditer(text):
            yield from self._pass(text[at : match.start()])
            self._turn(match[0])
            at = match.end()
        yield from self._pass(text[at:])

    def finish(self) -> Iterator[Piece]:
        """What was held back."""
        text, self._held = self._held, ""
        yield from self._pass(text)

    def _pass(self, text: str) -> Iterator[Piece]:
        if self._header is not None:
            self._header += text
            return
        if self._fresh:
            text = text.lstrip()
        if text:
            self._fresh = False
            yield Piece(self._kind, text)

    def _turn(self, mark: str) -> None:
        if not self._style.channels:
            assert self._style.marks is not None
            self._kind = "reasoning" if mark == self._style.marks[0] else "text"
            self._fresh = True
        elif mark == "<|message|>":
            channel = (self._header or "").split()[:1]
            self._kind = "reasoning" if channel == ["analysis"] else "text"
            self._header = None
        else:
            self._header = ""

    def _begun(self, text: str) -> int:
        marks = self._style.tokens
        for size in range(min(max(map(len, marks)) - 1, len(text)), 0, -1):
            if any(len(m) > size and m.startswith(text[-size:]) for m in marks):
                return size
        return 0
