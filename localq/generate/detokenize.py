"""Token ids to text, one token at a time, never half a character.

Every token is a string of bytes (see `pieces`), so an incremental UTF-8 decoder is the whole machine: constant work
per token, bytes of an unfinished character held back until the next token. The pieces joined are exactly
`Tokenizer.decode`. Bytes that can never become a character turn into U+FFFD, as everywhere. No "clean up" of spaces
before punctuation: a model's text is shown as the model wrote it.
"""

from __future__ import annotations

import codecs
from collections.abc import Collection, Sequence


class Detokenizer:
    """Feed it ids, take text; `finish` gives what an unfinished character leaves."""

    def __init__(self, pieces: Sequence[bytes], hidden: Collection[int] = (), strip_space: bool = False) -> None:
        """`hidden` ids give no text (control tokens); `strip_space` drops one space at the very beginning."""
        self._pieces = pieces
        self._hidden = hidden
        self._strip = strip_space
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        """Text that became certain with `token`; ids beyond the vocabulary (padded output rows) give none."""
        if token in self._hidden or not 0 <= token < len(self._pieces):
            return ""
        return self._trim(self._decoder.decode(self._pieces[token]))

    def finish(self) -> str:
        """What is left: U+FFFD for a character that was never completed."""
        return self._trim(self._decoder.decode(b"", True))

    def _trim(self, text: str) -> str:
        if not self._strip or not text:
            return text
        self._strip = False
        return text[1:] if text[0] == " " else text
