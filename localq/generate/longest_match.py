r"""RWKV's "world" vocabulary: bytes, and at every position the longest token that fits (src/llama-vocab.cpp, `rwkv`).

Tokens are spelled as Python spells bytes (`\n`, `\xff`). The first 256 after `<s>` are the single bytes, so every text
has tokens. llama.cpp also finds `<s>` and the fillers `[PAD65530]` in plain text; here they are no text.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

from localq.errors import CheckpointError

_ESCAPES = {ord("t"): b"\t", ord("n"): b"\n", ord("r"): b"\r"}


def unescaped(token: str) -> bytes:
    """The bytes of a token as GGUF spells it.

    Raises:
        CheckpointError: an escape without its two digits.
    """
    data, out, at = token.encode(), bytearray(), 0
    while at < len(data):
        if data[at] != ord("\\") or at + 1 == len(data):
            out.append(data[at])
            at += 1
        elif data[at + 1] == ord("x"):
            digits = data[at + 2 : at + 4]
            try:
                out += bytes.fromhex(digits.decode())
            except ValueError as err:
                raise CheckpointError(f"Token {token!r} of the GGUF's vocabulary has a broken escape.") from err
            at += 4
        else:
            out += _ESCAPES.get(data[at + 1], data[at + 1 : at + 2])
            at += 2
    return bytes(out)


def world_file(text: str) -> dict[int, bytes]:
    """The lines of `rwkv_vocab_v20230424.txt`: id, Python literal, length in bytes.

    Raises:
        CheckpointError: a line of another form.
    """
    found: dict[int, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            first, _, rest = line.partition(" ")
            literal, _, length = rest.rpartition(" ")
            value = ast.literal_eval(literal)
            data = value.encode() if isinstance(value, str) else bytes(value)
            ident, size = int(first), int(length)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as err:
            raise CheckpointError(
                f"Line {number} of RWKV's vocabulary is {line[:60]!r}; expected id, text, length."
            ) from err
        if len(data) != size or ident < 0 or ident in found:
            raise CheckpointError(
                f"Line {number} of RWKV's vocabulary names {len(data)} bytes or an id twice: {line[:60]!r}."
            )
        found[ident] = data
    return found


class LongestMatch:
    """Greedy longest match over bytes."""

    def __init__(self, tokens: Mapping[bytes, int]) -> None:
        """`tokens` must hold all single bytes.

        Raises:
            CheckpointError: some byte has no token.
        """
        missing = [b for b in range(256) if bytes((b,)) not in tokens]
        if missing:
            raise CheckpointError(f"The vocabulary lacks {len(missing)} single bytes ({missing[0]} is the first).")
        self._tokens = tokens
        self._lengths = _lengths(tokens)

    def encode(self, text: str) -> list[int]:
        """Ids of a text."""
        data, at, found = text.encode(), 0, []
        while at < len(data):
            for length in self._lengths.get(data[at : at + 2], (1,)):
                token = self._tokens.get(data[at : at + length])
                if token is not None and at + length <= len(data):
                    found.append(token)
                    at += length
                    break
        return found


def _lengths(tokens: Iterable[bytes]) -> dict[bytes, list[int]]:
    """First two bytes -> lengths of the tokens that begin so, longest first, 1 among them."""
    sizes: dict[bytes, set[int]] = {}
    for token in tokens:
        if len(token) > 1:
            sizes.setdefault(token[:2], {1}).add(len(token))
    return {start: sorted(found, reverse=True) for start, found in sizes.items()}
