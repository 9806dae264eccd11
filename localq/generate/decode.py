"""Prefill and decode on an mlx-lm model: token ids in, token ids out.

The prompt goes through the model in chunks of all but its last token; then one token a step, the next step started
before the last one is read (`mx.async_eval`). Closing the generator ends the work: at most the step already begun is
lost. Load, decode and evaluate on one thread: MLX streams are thread-local.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import mlx.core as mx

from localq.errors import LocalqError, UsageError
from localq.generate.samplers import Sampler, Sampling
from localq.models.linear import without_heads

Cache = list[Any]  # one mlx-lm cache object a layer


def default_prefill_step() -> int:
    """Tokens a prefill chunk holds: 2048 on a GPU, 512 on a CPU, where attention's square of it would cost memory."""
    return 2048 if mx.default_device().type == mx.DeviceType.gpu else 512


def generate_ids(
    model: Any, ids: Sequence[int], sampling: Sampling, cache: Cache | None = None, prefill_step: int | None = None
) -> Generator[int]:
    """Yield new token ids after the prompt `ids`, at most `sampling.max_tokens`; the caller ends it at an EOS.

    `cache` may already hold a beginning of `ids` (then only the rest is computed); it is filled as tokens are
    yielded. Without one a fresh cache is made.

    Raises:
        UsageError: an empty prompt, or a cache that already holds all of it.
        LocalqError: the model's logits are not numbers.
    """
    from mlx_lm.models.cache import make_prompt_cache

    cache = make_prompt_cache(model) if cache is None else cache
    rest = list(ids)[_held(cache) :]
    if not rest:
        raise UsageError("The prompt has no tokens to continue from; give some text.")
    sampler = Sampler(sampling, ids)
    _prefill(model, rest[:-1], cache, prefill_step or default_prefill_step())
    yield from _decode(model, rest[-1], cache, sampler, sampling.max_tokens)


def _prefill(model: Any, ids: list[int], cache: Cache, step: int) -> None:
    for start in range(0, len(ids), step):
        with without_heads():  # nobody reads these logits, and the reference kernels are not lazy
            model(mx.array(ids[start : start + step])[None], cache=cache)
        mx.eval([c.state for c in cache])
        mx.clear_cache()


def _decode(model: Any, last: int, cache: Cache, sampler: Sampler, limit: int | None) -> Iterator[int]:
    token, sane = _step(model, mx.array([last], dtype=mx.uint32), cache, sampler)
    mx.async_eval(token, sane)
    count = 0
    while True:
        count += 1
        if count != limit:
            following = _step(model, token, cache, sampler)
            mx.async_eval(*following)
        if not sane.item():
            raise LocalqError(
                f"The model's logits stopped being numbers at answer token {count}.",
                "Its weights are damaged or overflow in this precision; try another build of the model.",
            )
        chosen: Any = token.item()
        yield int(chosen)
        if count == limit:
            return
        if count % 256 == 0:
            mx.clear_cache()
        token, sane = following


def _step(model: Any, token: mx.array, cache: Cache, sampler: Sampler) -> tuple[mx.array, mx.array]:
    """The next token, and whether the logits it was chosen from hold no NaN (uint32 `[1]`, bool)."""
    logits = model(token[None], cache=cache)[:, -1, :]
    return sampler(logits), mx.logical_not(mx.any(mx.isnan(logits)))


def _held(cache: Cache) -> int:
    """Tokens a cache holds, by its first layer that counts them."""
    return next((int(c.offset) for c in cache if hasattr(c, "offset")), 0)


class PromptCache:
    """The KV cache of the last answer, kept for the next prompt that begins the same (a chat's next turn)."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache: Cache | None = None
        self._ids: list[int] = []

    def generate(self, ids: Sequence[int], sampling: Sampling, prefill_step: int | None = None) -> Generator[int]:
        """As `generate_ids`, computing only what the last prompt and answer did not share with `ids`."""
        cache, held = self._take(list(ids))
        self.reused = held
        self._cache, self._ids = None, []  # an error in between leaves nothing half-filled behind
        fed = list(ids)
        try:
            for token in generate_ids(self._model, ids, sampling, cache, prefill_step):
                fed.append(token)
                yield token
        finally:
            # The cache holds the prompt and the tokens yielded, but the last one only if a step followed it.
            if len(fed) > len(ids) and _held(cache) in (len(fed), len(fed) - 1):
                self._cache, self._ids = cache, fed[: _held(cache)]

    reused = 0  # tokens of the last prompt that were not computed again

    def _take(self, ids: list[int]) -> tuple[Cache, int]:
        from mlx_lm.models.cache import make_prompt_cache

        shared = 0
        for ours, theirs in zip(self._ids, ids[:-1], strict=False):  # at least one token is left to compute
            if ours != theirs:
                break
            shared += 1
        surplus = len(self._ids) - shared
        if self._cache is None or shared == 0:
            return make_prompt_cache(self._model), 0
        if surplus and not _trimmed(self._cache, surplus):
            return make_prompt_cache(self._model), 0
        return self._cache, shared


def _trimmed(cache: Cache, count: int) -> bool:
    """Take the last `count` tokens off a cache; False where it cannot (a sliding window that has moved on)."""
    if not all(c.is_trimmable() for c in cache):
        return False
    return all(c.trim(count) == count for c in cache)
