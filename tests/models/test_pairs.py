"""The cache with keys and values in one array, against mlx-lm's own, write by write."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.models.cache import KVCache

from localq.models.pairs import paired


def same(one: Any, other: Any) -> None:
    assert one.offset == other.offset and one.nbytes == other.nbytes and one.empty() == other.empty()
    for a, b in zip(one.keys_and_values(), other.keys_and_values(), strict=True):
        assert mx.array_equal(a, b)


@pytest.mark.parametrize("batch", [1, 2])
def test_it_holds_what_mlx_lms_cache_holds(batch: int) -> None:
    one, other = paired()(), KVCache()
    assert one.empty() and one.nbytes == 0 and isinstance(one, KVCache)
    for step, length in enumerate((3, 1, 250, 1, 1, 1, 300, 1)):  # over the room of 256 twice, and to its edge
        both = mx.random.normal((2, batch, 3, length, 8), key=mx.random.key(step))
        got = one.update_pair(both) if length == 1 else one.update_and_fetch(both[0], both[1])
        for a, b in zip(got, other.update_and_fetch(both[0], both[1]), strict=True):
            assert mx.array_equal(a, b)
        same(one, other)
        if step == 4:
            assert one.is_trimmable() and one.trim(2) == other.trim(2) == 2
            same(one, other)


def test_its_state_is_read_back() -> None:
    one, other = paired()(), KVCache()
    both = mx.random.normal((2, 1, 3, 5, 32))
    one.update_pair(both)
    other.state = one.state
    again = paired()()
    again.state = other.state
    same(one, other)
    same(again, other)
    for a, b in zip(one.to_quantized(32, 8).keys, other.to_quantized(32, 8).keys, strict=True):
        assert mx.array_equal(a, b)
    with pytest.raises(ValueError, match="one array"):
        one.update_and_fetch(both[0], both[1][..., :16])
