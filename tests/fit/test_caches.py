"""Cache arithmetic against the bytes mlx-lm's caches really allocate, for every architecture with a plan."""

from __future__ import annotations

import mlx.core as mx
import pytest

from localq.errors import CheckpointError, UnsupportedError, UsageError
from localq.fit.caches import KV_DTYPES, allocated, kv_dtype
from localq.fit.plans import plan, planned
from localq.models.architecture import build
from tests.fit.configs import tiny

CHUNK = 80


def really_allocated(config: dict, context: int, chunk: int = CHUNK) -> int:
    """Feeds `context` tokens as localq does (chunks of all but the last, the last alone) and counts."""
    from mlx_lm.models.cache import make_prompt_cache

    model = build(config)
    cache = make_prompt_cache(model)
    feeds = [*range(0, context - 1, chunk), context - 1]
    for begin, end in zip(feeds, [*feeds[1:], context], strict=True):
        model(mx.array([[i % 300 for i in range(begin, end)]]), cache=cache)
        mx.eval([c.state for c in cache])
    return sum(_bytes(c) for c in cache)


def _bytes(cache: object) -> int:
    """mlx-lm's `nbytes`, which ArraysCache lacks in some versions."""
    inner = getattr(cache, "caches", None)
    if inner is not None:
        return sum(_bytes(c) for c in inner)
    arrays = getattr(cache, "cache", None)
    if arrays is not None:
        return sum(a.nbytes for a in arrays if a is not None)
    return cache.nbytes  # type: ignore[attr-defined]


NEEDS_METAL = {"bitnet"}  # its layers are a Metal kernel


@pytest.mark.parametrize("model_type", sorted(planned() - NEEDS_METAL))
def test_plan_equals_what_is_allocated(model_type: str) -> None:
    config = tiny(model_type)
    for context in (1, 120, 300):
        assert allocated(plan(config), context, 32, CHUNK) == really_allocated(config, context), context


def test_a_half_precision_state_stays_float32_where_the_architecture_keeps_it() -> None:
    """A delta net's matrix is float32 whatever the activations are; its convolution's inputs are not."""
    layers = plan(tiny("qwen3_next"))
    state = next(layer for layer in layers if layer.kind == "state")
    assert allocated([state], 10, 16) == 2 * state.state + 4 * state.state32
    assert allocated([state], 10, 32) == 4 * (state.state + state.state32)


def test_an_unknown_architecture_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="frobnet"):
        plan({**tiny("llama"), "model_type": "frobnet"})


@pytest.mark.parametrize("wrong", ["many", -2, True, 1.5])
def test_a_size_that_is_no_number_is_an_error(wrong: object) -> None:
    with pytest.raises(CheckpointError, match="num_key_value_heads"):
        plan({**tiny("llama"), "num_key_value_heads": wrong})


def test_kv_types_by_their_usual_names() -> None:
    assert kv_dtype("FP8_E4M3").bits == 8
    assert kv_dtype("bfloat16") is KV_DTYPES["bf16"]
    with pytest.raises(UsageError, match="q8_0"):
        kv_dtype("int3")
