"""HybridDNA: byte-level BPE, and between `<dna>` and `</dna>` six letters a token (src/llama-vocab.cpp, `hybriddna`).

K-mers lie in the vocabulary with U+E000 behind them, which keeps them apart from equal words of the language.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

OPEN, CLOSE, UNKNOWN, MARK = "<dna>", "</dna>", "<oov>", "\ue000"
LETTERS = 6


class DnaEncoder:
    """Sequences as k-mers, everything else as `words` encodes it."""

    def __init__(self, words: Callable[[str], list[int]], ids: Mapping[str, int]) -> None:
        """`ids` of the whole vocabulary; without the three tokens of DNA all text is words."""
        self._words, self._ids = words, ids
        self._known = all(token in ids for token in (OPEN, CLOSE, UNKNOWN))

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        if not self._known:
            return self._words(text)
        found: list[int] = []
        while text:
            before, opened, rest = text.partition(OPEN)
            found += self._words(before) if before else []
            if not opened:
                break
            inside, closed, text = rest.partition(CLOSE)
            found += [self._ids[OPEN], *self._kmers(inside), *([self._ids[CLOSE]] if closed else [])]
        return found

    def _kmers(self, sequence: str) -> list[int]:
        """Upper case, cut by bytes, the last one filled up with A."""
        data = bytes(b - 32 if 97 <= b <= 122 else b for b in sequence.encode())
        cuts = [data[at : at + LETTERS].ljust(LETTERS, b"A").decode("latin-1") for at in range(0, len(data), LETTERS)]
        return [self._ids.get(kmer + MARK, self._ids[UNKNOWN]) for kmer in cuts]
