"""The header of a GGUF file that comes in pieces, as from a server: no more is fetched than the walk over it needs.

Where the table of tensors starts is said nowhere; it follows from the length of every string before it. So a vocabulary
has to come whole, and it is most of a header: 150,000 tokens and their merges are about 5 MB. Guessing the table's
place and checking what lies there (its count, its offsets, the file's size) would not do: a string can hold a second
table that passes every such check. What the tokenizer alone needs and has a known length (a score and a kind per token,
a whole tokenizer.json) is stepped over unfetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from localq.checkpoints.gguf_header import Header, HeaderReader
from localq.checkpoints.mapped import DAMAGED
from localq.errors import CheckpointError, UsageError

STEP = 1 << 16  # bytes fetched at once where nothing tells how much is to come
STRIDE = 1 << 22  # most bytes fetched at once
LONGEST = 1 << 26  # no header of a real model is longer

Fetch = Callable[[int, int], memoryview]


def read_in_pieces(path: str, size: int, fetch: Fetch) -> tuple[Header, frozenset[str]]:
    """Read and check the header of a file of `size` bytes, and the keys of arrays that were left out.

    Args:
        path: named in messages.
        fetch: has bytes `[start, end)` come, and gives a view of the whole file in which those and all earlier ones
            are right; the rest may be anything.

    Raises:
        CheckpointError: the file breaks a rule of the container, or its header is longer than any model's.
        UnsupportedError: another byte order, version or tensor type than localq reads.
    """
    reader = _Pieces(path, size, fetch)
    return reader.header(), frozenset(reader.left_out)


class Without(Mapping[str, Any]):
    """Metadata in which some values were never fetched: asking for one of those is an error."""

    def __init__(self, metadata: Mapping[str, Any], left_out: frozenset[str], path: str) -> None:
        self._metadata, self._left_out, self._path = metadata, left_out, path

    def __getitem__(self, key: str) -> Any:
        if key in self._left_out:
            raise UsageError(f"{key} of {self._path} is not here: only the headers are.", "Fetch it: localq pull")
        return self._metadata[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._metadata)

    def __len__(self) -> int:
        return len(self._metadata)

    def __contains__(self, key: object) -> bool:
        return key in self._metadata


class _Pieces(HeaderReader):
    """A cursor that has the bytes before it fetched; `have` is where the piece it stands in ends."""

    def __init__(self, path: str, size: int, fetch: Fetch) -> None:
        self.fetch, self.have, self.fetched = fetch, 0, 0
        self.left_out: list[str] = []
        self.path, self.size = path, size
        super().__init__(self._more(0, min(STEP, size)), path, 0)

    def _more(self, start: int, end: int) -> memoryview:
        self.fetched += end - start
        if self.fetched > LONGEST + STEP:
            raise CheckpointError(
                f"{self.path} claims a header of over {LONGEST} bytes; no model's is that long.", DAMAGED
            )
        self.have = end
        return self.fetch(start, end)

    def reach(self, end: int, more: int = STEP) -> None:
        """Have the bytes before `end`, and up to `more` behind them that will be asked for next."""
        if end > self.have:
            self.buffer = self._more(self.have, min(max(end, self.have + more), self.size))

    def pass_value(self, key: str, nbytes: int) -> None:
        """Fetch a value, for a config may be made of it; but no long one of the tokenizer's, which is not run here."""
        if nbytes <= STEP or not key.startswith("tokenizer."):
            self.reach(self.at + nbytes)
        else:
            self.left_out.append(key)
            self.have = max(self.have, self.at + nbytes)

    def pass_strings(self, count: int) -> int:
        """Walk on in what is here, and have as much fetched as the strings left take at the length of those so far."""
        at, done = self.at, 0
        while True:
            buffer, last = self.buffer, self.have - 8
            while done < count and at <= last:
                at += 8 + int.from_bytes(buffer[at : at + 8], "little")
                done += 1
            if done == count and at <= self.size:
                self.reach(at)
                return at
            if done == count or at + 8 > self.size:
                return self.size + 1
            left = (count - done) * (at - self.at) // max(done, 1)
            self.reach(at + 8, min(max(STEP, left), STRIDE))
