"""PLaMo 2's and 3's vocabulary: pieces with scores, the cheapest way through a text, bytes for what has no piece.

As in llama.cpp (src/llama-vocab.cpp, `llm_tokenizer_plamo2`) and the models' own tokenization_plamo.py: scores count in
whole ten-thousandths, a character without a piece costs 1000, of equal ways the one with the longer piece in front is
taken, and a byte order mark in front is dropped. Those two also find control tokens and fillers spelled out in plain
text; here they are found on request only, like everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from localq.errors import CheckpointError

_UNIT, _UNKNOWN, _INVALID = 1e4, -10_000_000, -20_000_000


class BestPath:
    """Dynamic programming from the end of a text to its beginning."""

    def __init__(self, scores: Mapping[str, tuple[int, float]], byte_ids: Mapping[int, int]) -> None:
        """`scores`: piece -> (id, score); `byte_ids`: byte -> id, all 256.

        Raises:
            CheckpointError: bytes without a token.
        """
        if len(byte_ids) != 256:
            raise CheckpointError(f"The GGUF's vocabulary has tokens for {len(byte_ids)} of 256 bytes.")
        rounded = {piece: (token, _rounded(score)) for piece, (token, score) in scores.items() if piece}
        self._pieces = {piece: found for piece, found in rounded.items() if found[1] > _INVALID}
        self._bytes = byte_ids
        self._lengths = _lengths(self._pieces)

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        text = text.removeprefix("\ufeff")
        steps, found, at = self._steps(text), [], 0
        while at < len(text):
            length, token = steps[at]
            found += [token] if token >= 0 else [self._bytes[b] for b in text[at].encode()]
            at += length
        return found

    def _steps(self, text: str) -> Sequence[tuple[int, int]]:
        """Length and id (-1: bytes) of the first piece of the cheapest way from each position."""
        end = len(text)
        costs, steps = [0] * (end + 1), [(1, -1)] * end
        for at in range(end - 1, -1, -1):
            best = costs[at + 1] - _UNKNOWN
            chosen, first = (1, -1), True
            for length in self._lengths.get(text[at], ()):
                piece = self._pieces.get(text[at : at + length]) if at + length <= end else None
                if piece is None:
                    continue
                cost = costs[at + length] - piece[1]
                # an unknown character comes last, so a piece of the same cost goes before it
                if cost < best or first and cost == best:
                    best, chosen, first = cost, (length, piece[0]), False
            costs[at], steps[at] = best, chosen
        return steps


def _rounded(score: float) -> int:
    """Halves away from zero, as C++ rounds."""
    if not math.isfinite(score):
        return _INVALID
    return int(math.copysign(math.floor(abs(score) * _UNIT + 0.5), score))


def _lengths(pieces: Mapping[str, object]) -> dict[str, list[int]]:
    """First character -> lengths of the pieces that begin with it, longest first."""
    found: dict[str, set[int]] = {}
    for piece in pieces:
        found.setdefault(piece[0], set()).add(len(piece))
    return {start: sorted(sizes, reverse=True) for start, sizes in found.items()}
