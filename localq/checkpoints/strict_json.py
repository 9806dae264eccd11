"""JSON from a checkpoint, read strictly: bounded in size and in pieces, no key twice, an object at the top."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.mapped import DAMAGED, shown
from localq.errors import CheckpointError

MAX_PIECES = 1_000_000  # brackets and commas; the parsed objects of so many take about 60 MB
_CHUNK = 1 << 20


def read_object(data: memoryview | bytes, what: str, limit: int) -> dict[str, Any]:
    """Parse one JSON object of at most `limit` bytes; `what` names it in messages.

    Raises:
        CheckpointError: too large, not UTF-8, not JSON, a key twice in one object, or not an object.
    """
    view = memoryview(data)
    if len(view) > limit:
        raise CheckpointError(f"{what} is {len(view)} bytes long; localq reads at most {limit}.")
    pieces = 0
    for start in range(0, len(view), _CHUNK):
        chunk = bytes(view[start : start + _CHUNK])
        pieces += chunk.count(b",") + chunk.count(b"[") + chunk.count(b"{")
    if pieces > MAX_PIECES:
        raise CheckpointError(f"{what} has {pieces} brackets and commas; localq reads at most {MAX_PIECES}.")
    import json

    try:
        found = json.loads(str(view, "utf-8"), object_pairs_hook=lambda pairs: _once(pairs, what))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} is not valid JSON: {error}.", DAMAGED) from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{what} is a JSON {type(found).__name__}; an object is expected.", DAMAGED)
    return found


def _once(pairs: list[tuple[str, Any]], what: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise CheckpointError(f"{what} has the key {shown(twice)} twice.", DAMAGED)
    return found
