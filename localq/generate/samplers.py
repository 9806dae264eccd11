"""Choosing the next token from logits.

Order, as in llama.cpp's default chain: repetition and presence penalties, top-k, top-p, min-p, then temperature; top-p
and min-p look at the probabilities that remain after the step before. (mlx-lm filters by top-p of the whole
distribution first and by top-k last; its penalties look back 20 tokens only.) Penalties follow vLLM: repetition
counts prompt and answer, presence only the answer. Temperature 0 is greedy and draws nothing.

Draws come from a key of our own, split once per token: the same seed gives the same tokens on the same device and
MLX version, whatever else the process has drawn. Logits are `[1, vocab]`; everything stays lazy on the device.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import mlx.core as mx

from localq.errors import UsageError


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens and when to end; wrong values raise UsageError."""

    temperature: float = 0.7
    top_k: int = 0  # 0: all
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    seed: int | None = None  # None: drawn anew
    max_tokens: int | None = None  # None: to the end of the context
    stop: tuple[str, ...] = ()
    suppress_tokens: tuple[int, ...] = ()  # ids that are never chosen

    def __post_init__(self) -> None:
        self._number("temperature", 0, 100)
        self._number("top_k", 0, 1 << 31, whole=True)
        self._number("top_p", 0, 1, open_low=True)
        self._number("min_p", 0, 1)
        self._number("repetition_penalty", 0, 100, open_low=True)
        self._number("presence_penalty", -100, 100)
        if self.seed is not None:
            self._number("seed", 0, (1 << 64) - 1, whole=True)
        if self.max_tokens is not None:
            self._number("max_tokens", 1, 1 << 31, whole=True)
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        if not all(isinstance(s, str) and s for s in stops):
            raise UsageError(f"stop is {self.stop!r}; expected texts of at least one character.")
        object.__setattr__(self, "stop", stops)
        never = self.suppress_tokens
        if isinstance(never, (str, bytes)) or not isinstance(never, Sequence) or not all(map(_is_id, never)):
            raise UsageError(f"suppress_tokens is {never!r}; expected a list of token ids.")
        object.__setattr__(self, "suppress_tokens", tuple(never))

    @classmethod
    def of(cls, options: dict[str, Any], defaults: dict[str, Any] | None = None) -> Sampling:
        """From keyword options, None meaning "not given"; `defaults` fill in (a model's generation_config).

        Raises:
            UsageError: an option that does not exist, or a value out of range.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(options) - known)
        if unknown:
            raise UsageError(f"There is no option '{unknown[0]}'; the options are {', '.join(sorted(known))}.")
        given = {k: v for k, v in (defaults or {}).items() if k in known}
        return cls(**given | {k: v for k, v in options.items() if v is not None})

    @property
    def greedy(self) -> bool:
        """Always the likeliest token?"""
        return self.temperature == 0 or self.top_k == 1

    def _number(self, name: str, low: float, high: float, *, whole: bool = False, open_low: bool = False) -> None:
        value = getattr(self, name)
        kinds = int if whole else (int, float)
        inside = isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)
        if not inside or not low <= value <= high or (open_low and value == low):
            kind = "a whole number" if whole else "a number"
            least = f"above {low}" if open_low else f"from {low}"
            raise UsageError(f"{name} is {value!r}; expected {kind} {least} to {high}.")


class Sampler:
    """The state of one answer: its random key and the tokens seen; call it with logits `[1, vocab]`."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int] = ()) -> None:
        self._s = sampling
        self._key = mx.random.key(secrets.randbits(64) if sampling.seed is None else sampling.seed)
        self._prompt = list(prompt)
        self._before: mx.array | None = None  # bool [1, vocab]: in prompt or answer
        self._answer: mx.array | None = None  # bool [1, vocab]: in the answer
        self._never: mx.array | None = None  # bool [1, vocab]: never to be chosen

    def __call__(self, logits: mx.array) -> mx.array:
        """The next token, uint32 `[1]`, lazily."""
        logits = self._penalised(self._allowed(logits.astype(mx.float32)))
        token = mx.argmax(logits, axis=-1) if self._s.greedy else self._drawn(logits)
        token = token.astype(mx.uint32)
        if self._before is not None and self._answer is not None:
            self._before = _marked(self._before, token)
            self._answer = _marked(self._answer, token)
        return token

    def _allowed(self, logits: mx.array) -> mx.array:
        """The logits, -inf for tokens never to be chosen."""
        never = [t for t in self._s.suppress_tokens if t < logits.shape[-1]]
        if not never:
            return logits
        if self._never is None:
            self._never = _marked(mx.zeros(logits.shape, dtype=mx.bool_), mx.array(never, dtype=mx.uint32))
        return mx.where(self._never, -mx.inf, logits)

    def _penalised(self, logits: mx.array) -> mx.array:
        repetition, presence = self._s.repetition_penalty, self._s.presence_penalty
        if repetition == 1 and presence == 0:
            return logits
        if self._before is None or self._answer is None:
            none = mx.zeros(logits.shape, dtype=mx.bool_)
            self._answer = none
            inside = [t for t in set(self._prompt) if 0 <= t < logits.shape[-1]]
            self._before = _marked(none, mx.array(inside, dtype=mx.uint32)) if inside else none
        if repetition != 1:
            pushed = mx.where(logits < 0, logits * repetition, logits / repetition)
            logits = mx.where(self._before, pushed, logits)
        return logits - presence * self._answer.astype(mx.float32) if presence else logits

    def _drawn(self, logits: mx.array) -> mx.array:
        self._key, key = mx.random.split(self._key)
        values, order = filtered(logits, self._s)
        pick = mx.random.categorical(values / self._s.temperature, axis=-1, key=key)
        return pick if order is None else mx.take_along_axis(order, pick[:, None], axis=-1)[:, 0]


def filtered(logits: mx.array, sampling: Sampling) -> tuple[mx.array, mx.array | None]:
    """Logits `[1, n]` with what top-k, top-p and min-p remove set to -inf, and the token ids they stand for.

    The ids are None where position is id; else the values are sorted, likeliest first. Ties at an edge: top-k keeps
    exactly k, top-p the smallest set that reaches p, min-p every token at the bound.
    """
    size = logits.shape[-1]
    top_k = sampling.top_k if 0 < sampling.top_k < size else 0
    if not top_k and sampling.top_p == 1:
        return _min_p(logits, sampling.min_p), None
    if top_k:
        best = mx.argpartition(-logits, kth=top_k - 1, axis=-1)[:, :top_k]
        picked = mx.take_along_axis(logits, best, axis=-1)
        order = mx.take_along_axis(best, mx.argsort(-picked, axis=-1), axis=-1)
    else:
        order = mx.argsort(-logits, axis=-1)
    values = mx.take_along_axis(logits, order, axis=-1)
    if sampling.top_p < 1:
        p = mx.softmax(values, axis=-1, precise=True)
        before = mx.cumsum(p, axis=-1) - p  # mass of the likelier ones; the first always stays
        values = mx.where(before < sampling.top_p, values, -mx.inf)
    return _min_p(values, sampling.min_p), order


def _min_p(logits: mx.array, min_p: float) -> mx.array:
    """Keep tokens at least `min_p` times as likely as the likeliest."""
    if min_p == 0:
        return logits
    return mx.where(logits >= mx.max(logits, axis=-1, keepdims=True) + math.log(min_p), logits, -mx.inf)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32


def _marked(seen: mx.array, tokens: mx.array) -> mx.array:
    return mx.put_along_axis(seen, tokens.reshape(1, -1), mx.array(True), axis=-1)
