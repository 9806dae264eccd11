"""Text cut at its special tokens; what lies between them goes to a function of the vocabulary's own.

As llama.cpp does it (src/llama-vocab.cpp, `tokenizer_st_partition`): longer tokens first, control tokens only on
request, user-defined ones always.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping


class FragmentEncoder:
    """Special tokens found as a whole, fragments between them encoded by `encode`."""

    def __init__(
        self, encode: Callable[[str], list[int]], ids: Mapping[str, int], control: Iterable[str], plain: Iterable[str]
    ) -> None:
        """`ids` of all special tokens; `control` ones count on request, `plain` ones always."""
        self._encode, self._ids = encode, ids
        always = set(plain)
        self._plain, self._every = _pattern(always), _pattern({*control, *always})

    def encode(self, text: str, parse_special: bool) -> list[int]:
        """Token ids, without BOS or EOS."""
        pattern = self._every if parse_special else self._plain
        found: list[int] = []
        for i, part in enumerate(pattern.split(text) if pattern else [text]):
            if i % 2:
                found.append(self._ids[part])
            elif part:
                found += self._encode(part)
        return found


def _pattern(tokens: set[str]) -> re.Pattern[str] | None:
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if tokens else None
