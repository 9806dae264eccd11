"""One answer: ids from an engine become tagged pieces of text, and numbers about how it went.

Order: detokenise -> stop strings -> reasoning apart from text. Stop strings are looked for in everything the model
writes, thinking included, as vLLM and llama-server do.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Literal

from localq.generate.reasoning import Piece, ReasoningSplitter, Style, thinking_begun
from localq.generate.stop import StopStrings
from localq.generate.tokenizer import Tokenizer


@dataclass
class Stats:
    """How an answer went; times in seconds, grows while the answer does."""

    prompt_tokens: int
    generated_tokens: int = 0  # an end-of-answer token counts
    time_to_first_token: float | None = None
    decode_seconds: float = 0.0  # from the first token to the last
    finish_reason: Literal["stop", "length"] | None = None  # None: still going, or cancelled

    @property
    def prefill_tokens_per_second(self) -> float | None:
        """Prompt tokens by the time to the first token (the first decode step is in it)."""
        return self.prompt_tokens / self.time_to_first_token if self.time_to_first_token else None

    @property
    def decode_tokens_per_second(self) -> float | None:
        """Tokens after the first, by the time they took."""
        return (self.generated_tokens - 1) / self.decode_seconds if self.decode_seconds > 0 else None


@dataclass(frozen=True)
class Prompt:
    """A prompt as ids and as text; `continues` for raw text, whose answer may begin with a space."""

    ids: list[int]
    text: str
    continues: bool = False


class Reply(Iterator[Piece]):
    """Iterate for `Piece(kind, text)`; `stats` is there from the start, `close` cancels."""

    def __init__(
        self, tokenizer: Tokenizer, prompt: Prompt, ids: Generator[int], *, stop: tuple[str, ...], style: Style
    ) -> None:
        self.stats = Stats(len(prompt.ids))
        self._tokenizer, self._prompt, self._ids, self._style = tokenizer, prompt, ids, style
        self._stop = StopStrings(stop)
        self._pieces = self._run()

    def __next__(self) -> Piece:
        return next(self._pieces)

    def close(self) -> None:
        """End the answer here; the engine stops working on it."""
        self._pieces.close()
        self._ids.close()

    def _run(self) -> Generator[Piece]:
        known = [self._tokenizer.ids[t] for t in self._style.tokens if t in self._tokenizer.ids]
        shown = [i for i in known if i not in self._tokenizer.eos_ids]
        detokenizer = self._tokenizer.detokenizer(shown=shown, continues=self._prompt.continues)
        splitter = ReasoningSplitter(self._style, inside=thinking_begun(self._prompt.text, self._style))
        try:
            for token in self._counted():
                yield from splitter.add(self._stop.add(detokenizer.add(token)))
                if self._stop.hit is not None:
                    break
            yield from splitter.add(self._stop.add(detokenizer.finish()) + self._stop.finish())
            yield from splitter.finish()
            if self._stop.hit is not None:
                self.stats.finish_reason = "stop"
        finally:
            self._ids.close()

    def _counted(self) -> Iterator[int]:
        """The ids up to an end-of-answer token, timed."""
        started = first = time.perf_counter()
        for token in self._ids:
            now = time.perf_counter()
            if self.stats.time_to_first_token is None:
                self.stats.time_to_first_token, first = now - started, now
            self.stats.generated_tokens += 1
            self.stats.decode_seconds = now - first
            if token in self._tokenizer.eos_ids:
                self.stats.finish_reason = "stop"
                return
            yield token
        self.stats.finish_reason = "length"
