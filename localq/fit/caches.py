"""Bytes of the caches a model keeps while it generates, counted as mlx-lm allocates them.

A layer keeps keys and values of every token (`full`), of the last `window` tokens (`window`, `chunk`), a state of fixed
size (`state`: convolution and recurrence), or a state for each of the last `window` tokens (`last`). Which layer keeps
what is the architecture's business (plans.py); how many token slots are allocated for a context is here, and equals
mlx-lm's `KVCache`, `RotatingKVCache`, `ChunkedKVCache` and `ArraysCache` byte for byte (mlx_lm/models/cache.py, 0.32).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from localq.errors import UsageError

STEP = 256  # token slots mlx-lm's caches grow by


class LayerCache(NamedTuple):
    """What one layer keeps.

    Attributes:
        kind: how its token slots grow; `last`: not in steps.
        width: elements kept per token, keys and values together.
        window: tokens looked back on, for `window`, `chunk` and `last`.
        state: elements of fixed size in the cache's dtype, for `state` (also beside keys); of `last` per token.
        state32: elements of fixed size that stay float32 whatever the dtype.
    """

    kind: Literal["full", "window", "chunk", "state", "last"]
    width: int = 0
    window: int = 0
    state: int = 0
    state32: int = 0


class KVDtype(NamedTuple):
    """How keys and values are stored: bits per element, scales included."""

    name: str
    bits: float
    words: str


KV_DTYPES = {
    "f32": KVDtype("f32", 32, "4 bytes"),
    "f16": KVDtype("f16", 16, "2 bytes"),
    "bf16": KVDtype("bf16", 16, "2 bytes"),
    "fp8": KVDtype("fp8", 8, "1 byte"),
    "q8": KVDtype("q8", 8.5, "8 bits and a 16-bit scale per 32"),
    "q8_0": KVDtype("q8_0", 8.5, "8 bits and a 16-bit scale per 32"),
    "q5_1": KVDtype("q5_1", 6, "5 bits and two 16-bit numbers per 32"),
    "q4_0": KVDtype("q4_0", 4.5, "4 bits and a 16-bit scale per 32"),
    "q4": KVDtype("q4", 4.5, "4 bits and two 16-bit numbers per 64"),
}


def kv_dtype(name: str) -> KVDtype:
    """A storage type of keys and values by name.

    Raises:
        UsageError: unknown; the message lists those there are.
    """
    key = {"float32": "f32", "float16": "f16", "bfloat16": "bf16", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8"}
    found = KV_DTYPES.get(key.get(name.lower(), name.lower()))
    if found is None:
        raise UsageError(f"'{name}' is no KV cache type; expected one of {', '.join(KV_DTYPES)}.")
    return found


def slots(layer: LayerCache, context: int, chunk: int) -> int:
    """Token slots allocated once `context` tokens are in: all but the last in chunks of `chunk`, the last alone."""
    if context < 1 or layer.kind in ("state", "last"):
        return 0
    feeds = [min(chunk, context - 1 - start) for start in range(0, context - 1, chunk)] + [1]
    grow = {"full": _full, "window": _rotating, "chunk": _chunked}[layer.kind]
    return grow(feeds, layer.window)


def _full(feeds: list[int], _: int) -> int:
    held = have = 0
    for new in feeds:
        if held + new > have:
            have = (held if held % STEP else have) + -(-new // STEP) * STEP
        held += new
    return have


def _rotating(feeds: list[int], window: int) -> int:
    """Several tokens are appended as they are after a cut to window - 1; one alone goes into slots grown in steps."""
    held = have = 0
    for new in feeds:
        if new > 1:
            have = min(have, window - 1) + new
        else:
            if held >= have and have < window:
                have += min(STEP, window - held)
            have = min(have, window)
        held += new
    return have


def _chunked(feeds: list[int], window: int) -> int:
    """`ChunkedKVCache`: the front beyond the chunk is cut off before every step."""
    held = have = 0
    for new in feeds:
        if held > window:
            held = have = window
        if held + new > have:
            have = (held if held % STEP else have) + -(-new // STEP) * STEP
        held += new
    return have


def allocated(layers: list[LayerCache], context: int, dtype_bits: float, chunk: int = 512) -> int:
    """Bytes of all layers' caches at `context` tokens, batch 1; fixed states stay unquantised (16 bits at least)."""
    total = 0.0
    counted: dict[LayerCache, int] = {}
    for layer in layers:
        if layer not in counted:
            counted[layer] = slots(layer, context, chunk)
        total += counted[layer] * layer.width * dtype_bits / 8
        if context:
            fixed = layer.state * max(dtype_bits, 16) / 8 + 4 * layer.state32
            total += fixed * (min(context, layer.window) if layer.kind == "last" else 1)
    return round(total)


def bytes_per_token(layers: list[LayerCache], dtype_bits: float) -> int:
    """Bytes one more token takes in the layers that keep every token."""
    return round(sum(layer.width for layer in layers if layer.kind == "full") * dtype_bits / 8)
