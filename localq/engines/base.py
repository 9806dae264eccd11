"""What an engine is: token ids in, token ids (or logits) out. It knows no text, no template and no end of sentence."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from localq.errors import DoesNotFitError, UsageError
from localq.generate.samplers import Sampling

Logits = NDArray[np.float32]


class Engine(Protocol):
    """One loaded model. Use it on the thread that made it; one answer at a time.

    Attributes:
        name: "mlx" or "llama".
        context: tokens that prompt and answer may have together.
        vocabulary: number of logits a position has.
        reused: tokens of the last prompt whose keys and values were still there from the answer before.
    """

    name: str
    context: int
    vocabulary: int

    @property
    def reused(self) -> int: ...

    def logits(self, ids: Sequence[int]) -> Logits:
        """Logits `[tokens, vocabulary]` of a text, computed from an empty cache in chunks.

        Raises:
            UsageError: no ids, or one outside the vocabulary.
            DoesNotFitError: more ids than the context holds.
        """
        ...

    def generate(self, ids: Sequence[int], sampling: Sampling) -> Generator[int]:
        """Yield new token ids after `ids` until `max_tokens`, the end of the context, or the caller closes it.

        Raises:
            UsageError, DoesNotFitError: as `logits`; the context must have room for one new token.
        """
        ...

    def close(self) -> None:
        """Free the model; the engine is of no use afterwards."""


def check_ids(ids: Sequence[int], context: int, vocabulary: int, *, room: int = 0) -> list[int]:
    """The ids as a list, refused here rather than deep inside a runtime (an assertion in ggml ends the process)."""
    found = [int(i) for i in ids]
    if not found:
        raise UsageError("The prompt has no tokens; give some text.")
    wrong = next((i for i in found if not 0 <= i < vocabulary), None)
    if wrong is not None:
        raise UsageError(f"Token id {wrong} is outside the vocabulary of {vocabulary}.")
    if len(found) + room > context:
        more = " and the answer needs at least one more" if room else ""
        raise DoesNotFitError(
            f"The prompt has {len(found)} tokens{more}; the context holds {context}.",
            "Shorten the prompt, or raise --context if the model allows it.",
        )
    return found


def within_context(sampling: Sampling, prompt: int, context: int) -> Sampling:
    """The sampling with `max_tokens` no larger than what is left of the context."""
    left = context - prompt
    return replace(sampling, max_tokens=left if sampling.max_tokens is None else min(sampling.max_tokens, left))


def read_context(wish: int | None, own: Any, source: str) -> int:
    """Tokens of context: what the user wishes, at most the model's own length, which is the default.

    Raises:
        UsageError: no positive number.
        DoesNotFitError: more than the model was made for.
    """
    limit = own if isinstance(own, int) and not isinstance(own, bool) and own > 0 else None
    if wish is None:
        if limit is None:
            raise UsageError(f"{source} does not say how long its context is ({own!r}).", "Give --context.")
        return limit
    if isinstance(wish, bool) or not isinstance(wish, int) or wish < 1:
        raise UsageError(f"The context is {wish!r}; expected a number of tokens above zero.")
    if limit is not None and wish > limit:
        raise DoesNotFitError(f"A context of {wish} tokens was asked for; the model was made for {limit}.")
    return wish
