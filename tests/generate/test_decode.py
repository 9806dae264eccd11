"""Prefill and decode against mlx-lm's own generate_step; what the prompt cache saves, and never gets wrong."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from localq.errors import LocalqError, UsageError
from localq.generate.decode import PromptCache, generate_ids
from localq.generate.samplers import Sampling

GREEDY = Sampling(temperature=0, max_tokens=12)


class Counting:
    """A tiny random Llama that remembers how many tokens it was given at a time."""

    def __init__(self, kind: str = "llama") -> None:
        mx.random.seed(5)
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 4}
        sizes |= {"rms_norm_eps": 1e-5, "vocab_size": 97, "num_key_value_heads": 2, "head_dim": 8}
        if kind == "llama":
            from mlx_lm.models.llama import Model, ModelArgs

            self.model: Any = Model(ModelArgs(model_type="llama", tie_word_embeddings=False, **sizes))
        else:
            from mlx_lm.models.gemma3_text import Model as Gemma
            from mlx_lm.models.gemma3_text import ModelArgs as GemmaArgs

            self.model = Gemma(GemmaArgs(model_type="gemma3_text", sliding_window=8, sliding_window_pattern=2, **sizes))
        self.calls: list[int] = []
        self.layers = self.model.layers

    def make_cache(self) -> list[Any]:
        from mlx_lm.models.cache import KVCache

        return self.model.make_cache() if hasattr(self.model, "make_cache") else [KVCache() for _ in self.layers]

    def __call__(self, tokens: mx.array, cache: Any = None) -> mx.array:
        self.calls.append(tokens.shape[1])
        return self.model(tokens, cache=cache)


def oracle(model: Counting, ids: list[int], count: int) -> list[int]:
    from mlx_lm.generate import generate_step

    return [t for t, _ in generate_step(mx.array(ids), model.model, max_tokens=count)]


def prompt(size: int, salt: int = 0) -> list[int]:
    return [(i * 31 + salt * 7 + i * i) % 97 for i in range(size)]


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
@pytest.mark.parametrize("size", [1, 2, 7, 50])
@pytest.mark.parametrize("step", [1, 8, 512])
def test_as_mlx_lm(kind: str, size: int, step: int) -> None:
    model = Counting(kind)
    assert list(generate_ids(model, prompt(size), GREEDY, prefill_step=step)) == oracle(model, prompt(size), 12)


def test_prefill_in_chunks_and_nothing_after_the_last_token() -> None:
    model = Counting()
    list(generate_ids(model, prompt(21), GREEDY, prefill_step=8))
    assert model.calls == [8, 8, 4, *[1] * 12]


def test_closing_ends_the_work() -> None:
    model = Counting()
    ids = generate_ids(model, prompt(5), Sampling(temperature=0))
    assert [next(ids), next(ids)] == oracle(model, prompt(5), 2)
    ids.close()
    assert model.calls == [4, 1, 1, 1]  # prompt, its last token, and one step ahead of each yielded token


def test_a_seed_gives_the_same_answer() -> None:
    model = Counting()
    sampling = Sampling(temperature=1.0, top_p=0.9, seed=11, max_tokens=20)
    first = list(generate_ids(model, prompt(5), sampling))
    assert list(generate_ids(model, prompt(5), sampling)) == first
    assert list(generate_ids(model, prompt(5), Sampling(temperature=1.0, seed=12, max_tokens=20))) != first


def test_next_turn_computes_only_what_is_new() -> None:
    model = Counting()
    turns = PromptCache(model)
    first = prompt(30)
    answer = list(turns.generate(first, GREEDY))
    second = [*first, *answer, *prompt(6, 1)]
    model.calls.clear()
    assert list(turns.generate(second, GREEDY)) == oracle(model, second, 12)
    assert turns.reused == 41  # the prompt and the answer but its last token, which was never fed
    assert sum(model.calls[:-12]) + 1 == len(second) - 41


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_any_sequence_of_prompts_is_answered_right(kind: str) -> None:
    """Shared beginnings, edits in the middle, shorter prompts, the same again, answers cut short."""
    model = Counting(kind)
    turns = PromptCache(model)
    base = prompt(20)
    for i, ids in enumerate([base, base, base[:9], [*base[:9], 5, 6], prompt(4, 3), [*prompt(4, 3), 1], base, [7]]):
        stream = turns.generate(ids, GREEDY)
        taken = [next(stream) for _ in range(3)] if i % 2 else list(stream)
        stream.close()
        assert taken == oracle(model, ids, 12)[: len(taken)], i


def test_refused() -> None:
    model = Counting()
    with pytest.raises(UsageError, match="no tokens"):
        next(generate_ids(model, [], GREEDY))
    model.model.lm_head.weight = model.model.lm_head.weight * float("nan")
    with pytest.raises(LocalqError, match="stopped being numbers at answer token 1"):
        next(generate_ids(model, prompt(3), GREEDY))
