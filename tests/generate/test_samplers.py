"""Every filter against a float64 reference, the whole distribution by drawing, seeds, and what is refused."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from localq.errors import UsageError
from localq.generate.samplers import Sampler, Sampling, filtered

RNG = np.random.default_rng(3)
VOCAB = 500
LOGITS = [RNG.normal(0, s, VOCAB).astype(np.float32) for s in (0.3, 2.0, 6.0)]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def reference(logits: np.ndarray, s: Sampling) -> np.ndarray:
    """Probabilities after top-k, top-p, min-p and temperature, in float64, by sorting."""
    x = logits.astype(np.float64)
    order = np.argsort(-x)
    keep = order[: s.top_k] if s.top_k else order
    p = softmax(x[keep])
    count = int(np.searchsorted(np.cumsum(p), s.top_p)) + 1 if s.top_p < 1 else len(keep)
    keep = keep[:count]
    p = softmax(x[keep])
    keep = keep[p >= s.min_p * p[0]]
    out = np.zeros(len(x))
    out[keep] = softmax(x[keep] / s.temperature)
    return out


def ours(logits: np.ndarray, s: Sampling) -> np.ndarray:
    values, order = filtered(mx.array(logits)[None], s)
    x = np.array(values[0]).astype(np.float64) / s.temperature
    out = np.zeros(len(logits))
    out[np.arange(len(x)) if order is None else np.array(order[0])] = softmax(x)
    return out


FILTERS: list[dict[str, Any]] = [
    {},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": VOCAB},
    {"top_k": 10_000},
    {"top_p": 0.9},
    {"top_p": 0.0001},
    {"top_p": 0.9999},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"top_k": 40, "top_p": 0.8, "min_p": 0.1, "temperature": 0.6},
    {"top_k": 20, "top_p": 0.95, "temperature": 1.7},
    {"top_p": 0.7, "min_p": 0.02, "temperature": 0.1},
]


@pytest.mark.parametrize("options", FILTERS, ids=str)
@pytest.mark.parametrize("logits", LOGITS, ids=("flat", "usual", "peaked"))
def test_distribution(options: dict[str, Any], logits: np.ndarray) -> None:
    """The same tokens survive, with the same probabilities."""
    sampling = Sampling(**{"temperature": 1.0, **options})
    expected, found = reference(logits, sampling), ours(logits, sampling)
    assert set(np.flatnonzero(found)) == set(np.flatnonzero(expected))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_draws_follow_the_distribution() -> None:
    """20,000 draws; the largest deviation allowed is 5 standard deviations of a count."""
    sampling = Sampling(temperature=0.8, top_k=30, top_p=0.9, seed=1)
    logits = mx.array(LOGITS[1])[None]
    sampler = Sampler(sampling)
    drawn = np.array(mx.concatenate([sampler(logits) for _ in range(20_000)]))
    expected = reference(LOGITS[1], sampling)
    counts = np.bincount(drawn, minlength=VOCAB)
    assert set(np.flatnonzero(counts)) <= set(np.flatnonzero(expected))
    deviation = np.sqrt(20_000 * expected * (1 - expected)) + 1e-9
    assert np.max(np.abs(counts - 20_000 * expected)[expected > 0] / deviation[expected > 0]) < 5


def drawn(seed: int | None, count: int = 40) -> list[int]:
    sampler = Sampler(Sampling(temperature=1.5, seed=seed))
    return [int(sampler(mx.array(LOGITS[0])[None]).item()) for _ in range(count)]


def test_seeds() -> None:
    """Same seed, same tokens, whatever global state is; other seeds, and none, differ."""
    first = drawn(42)
    mx.random.seed(7)
    mx.random.normal((3,))
    assert drawn(42) == first
    before = np.array(mx.random.state[0])
    assert drawn(43) != first
    assert drawn(None) != drawn(None)
    assert np.array_equal(np.array(mx.random.state[0]), before)
    assert drawn(2**64 - 1) == drawn(2**64 - 1)


def test_greedy_draws_nothing() -> None:
    for options in ({"temperature": 0}, {"top_k": 1}, {"temperature": 0, "top_p": 0.1, "min_p": 0.5}):
        token = Sampler(Sampling(**options))(mx.array(LOGITS[1])[None])
        assert int(token.item()) == int(LOGITS[1].argmax())


def test_penalties() -> None:
    """Repetition (sign-aware) on prompt and answer, presence on the answer only; each once a token."""
    logits = np.array([2.0, -2.0, 1.9, 0.5, 1.8, -5.0], np.float32)
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=1.5, presence_penalty=0.7), [1, 1, 0, 99])
    expected = logits.astype(np.float64)
    expected[0] /= 1.5
    expected[1] *= 1.5
    seen: set[int] = set()
    for _ in range(5):
        choice = int(sampler(mx.array(logits)[None]).item())
        assert choice == int(expected.argmax())
        if choice not in seen:
            if choice not in (0, 1):
                expected[choice] = expected[choice] / 1.5 if expected[choice] > 0 else expected[choice] * 1.5
            expected[choice] -= 0.7
        seen.add(choice)
    assert len(seen) >= 3


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": "hot"},
        {"temperature": True},
        {"top_k": -1},
        {"top_k": 1.5},
        {"top_p": 0},
        {"top_p": 1.01},
        {"min_p": -1},
        {"min_p": 2},
        {"repetition_penalty": 0},
        {"presence_penalty": float("nan")},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": 1.0},
        {"max_tokens": 0},
        {"max_tokens": 2.5},
        {"stop": [""]},
        {"stop": ""},
        {"stop": [1]},
        {"temprature": 1},
    ],
    ids=str,
)
def test_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        Sampling.of(options)
    assert next(iter(options)) in str(caught.value)


def test_defaults_and_not_given() -> None:
    sampling = Sampling.of({"temperature": None, "top_k": 5, "stop": "END"}, {"temperature": 0.3, "other": 1})
    assert (sampling.temperature, sampling.top_k, sampling.stop) == (0.3, 5, ("END",))
