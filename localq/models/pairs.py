"""A KV cache that keeps keys and values in one array, so that a step of a fused layer writes both in one launch.

Everything else is mlx-lm's `KVCache`: sizes, steps of growth, trimming, state; to it, keys and values are two arrays.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module


@cache
def paired() -> Any:
    """The class, a subclass of mlx-lm's `KVCache`."""
    from mlx_lm.models.cache import KVCache

    class PairedKVCache(KVCache):
        """Keys `pair[0]` and values `pair[1]`, each `[batch, heads, room, head]`."""

        pair: mx.array | None = None
        _keys: mx.array | None = None  # set by `state`, until values are

        @property
        def keys(self) -> mx.array | None:
            """All of the room for keys."""
            return None if self.pair is None else parts(self.pair)[0]

        @keys.setter
        def keys(self, value: mx.array | None) -> None:
            self._keys = value

        @property
        def values(self) -> mx.array | None:
            """All of the room for values."""
            return None if self.pair is None else parts(self.pair)[1]

        @values.setter
        def values(self, value: mx.array | None) -> None:
            self.pair = None if self._keys is None or value is None else mx.stack([self._keys, value])
            self._keys = None

        def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
            if keys.shape != values.shape:
                raise ValueError(f"Keys {keys.shape} and values {values.shape} do not go into one array.")
            room, first = self._room((2, *keys.shape), keys.dtype)
            room[:1, ..., first : self.offset, :] = keys[None]
            room[1:, ..., first : self.offset, :] = values[None]
            return self._filled(room)

        def update_pair(self, both: mx.array) -> tuple[mx.array, mx.array]:
            """As `update_and_fetch`, of keys and values in one array `[2, batch, heads, length, head]`."""
            room, first = self._room(both.shape, both.dtype)
            room[..., first : self.offset, :] = both
            return self._filled(room)

        def _room(self, shape: tuple[int, ...], dtype: mx.Dtype) -> tuple[mx.array, int]:
            """Where to write so many more, counted already, and the first place: as much room as `KVCache` makes."""
            *lead, length, head = shape
            first, room = self.offset, self.pair
            if room is None or first + length > room.shape[-2]:
                more = mx.zeros((*lead, -(-length // self.step) * self.step, head), dtype)
                kept = None if room is None else room[..., :first, :] if first % self.step else room
                room = more if kept is None else mx.concatenate([kept, more], axis=-2)
            self.pair = room
            self.offset += length
            return room, first

        def _filled(self, room: mx.array) -> tuple[mx.array, mx.array]:
            used = room if self.offset == room.shape[-2] else room[..., : self.offset, :]
            return parts(used)

    return PairedKVCache


def parts(pair: mx.array) -> tuple[mx.array, mx.array]:
    """Both halves of `[2, ...]` as they lie; `pair[0]` would be a gather, a launch that copies."""
    return pair[:1].squeeze(0), pair[1:].squeeze(0)


def pair_caches(model: Module) -> None:
    """Have a model make paired caches for its fused layers where mlx-lm makes plain ones."""
    made: Any = type(model)
    model.__class__ = _subclass(made)


@cache
def _subclass(model: Any) -> Any:
    from mlx_lm.models.cache import KVCache

    class Paired(model):  # type: ignore[misc]
        """The model, whose fused layers have keys and values in one array."""

        def make_cache(self) -> list[Any]:
            layers = self.layers
            plain = super().make_cache() if hasattr(model, "make_cache") else [KVCache() for _ in layers]
            if len(plain) != len(layers):
                return plain
            heads = [getattr(getattr(layer, "step", None), "heads", None) for layer in layers]
            pairs = zip(plain, heads, strict=True)
            return [paired()() if type(c) is KVCache and h is not None and h.joined else c for c, h in pairs]

    Paired.__name__ = Paired.__qualname__ = model.__name__
    return Paired
