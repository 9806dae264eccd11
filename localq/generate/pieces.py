"""The bytes each token stands for, so that text can be streamed without half characters.

Byte-level BPE spells bytes as 256 printable characters (GPT-2's table, openai/gpt-2 src/encoder.py); SentencePiece
spells a space as U+2581 and a byte as `<0x0A>`; WordPiece marks a continuation with `##`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def byte_alphabet() -> dict[str, int]:
    """GPT-2's table: character -> byte; printable Latin-1 stands for itself, the rest for U+0100 upwards."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [b for b in range(256) if b not in set(printable)]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(rest)}


def byte_level_pieces(tokens: Sequence[str], raw: Iterable[int]) -> list[bytes]:
    """Bytes of byte-level tokens; ids in `raw` (added tokens) are written as they read."""
    table = byte_alphabet()
    translation = {ord(c): chr(b) for c, b in table.items()}
    alphabet, plain = set(table), set(raw)
    out = []
    for i, token in enumerate(tokens):
        spelled = i not in plain and alphabet.issuperset(token)
        out.append(token.translate(translation).encode("latin-1") if spelled else token.encode())
    return out


def sentencepiece_pieces(tokens: Sequence[str], byte_ids: Iterable[int] | None = None) -> list[bytes]:
    """Bytes of SentencePiece tokens; `byte_ids` are the byte tokens, None: whatever is spelled `<0xNN>`."""
    known = None if byte_ids is None else set(byte_ids)
    out = []
    for i, token in enumerate(tokens):
        byte = _BYTE.fullmatch(token) if known is None or i in known else None
        out.append(bytes((int(byte[1], 16),)) if byte else token.replace("\u2581", " ").encode())
    return out


def wordpiece_pieces(tokens: Sequence[str], raw: Iterable[int]) -> list[bytes]:
    """Bytes of WordPiece tokens: a space before every word, none before a continuation."""
    plain = set(raw)
    return [
        t.encode() if i in plain else (t[2:] if t.startswith("##") else " " + t).encode() for i, t in enumerate(tokens)
    ]
