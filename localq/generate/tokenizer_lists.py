"""Vocabularies published as plain lists: RWKV's `rwkv_vocab_v20230424.txt` and PLaMo's `tokenizer.jsonl`.

Both come with Python code in place of a tokenizer.json; localq reads the list and executes nothing. What a line holds
is told in llama.cpp's converter (conversion/base.py, `_set_vocab_rwkv_world` and `_set_vocab_plamo`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from localq.errors import CheckpointError
from localq.generate import pieces as spelled
from localq.generate.best_path import BestPath
from localq.generate.fragments import FragmentEncoder
from localq.generate.longest_match import LongestMatch, world_file
from localq.generate.tokenizer import Tokenizer

ReadFile = Callable[[str], bytes | None]
WORLD, PLAMO = "rwkv_vocab_v20230424.txt", "tokenizer.jsonl"


def tokenizer_from_lists(
    read: ReadFile, config: Mapping[str, Any], named: Mapping[str, str], ends: Sequence[int]
) -> Tokenizer | None:
    """The tokenizer of such a list, None where there is none.

    Args:
        read: gives a file of the repository.
        config: tokenizer_config.json.
        named: special tokens by their role ("bos_token").
        ends: `eos_token_id` of the model's configs.

    Raises:
        CheckpointError: a list that is broken.
    """
    world = read(WORLD)
    if world is not None:
        return _world(_text(world, WORLD), ends)
    plamo = read(PLAMO)
    return None if plamo is None else _plamo(_text(plamo, PLAMO), config, named, ends)


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as err:
        raise CheckpointError(f"{name} is no UTF-8 text: byte {err.start}.") from err


def _world(text: str, ends: Sequence[int]) -> Tokenizer:
    """Id 0, which the list leaves out, ends a text."""
    found = world_file(text)
    if 0 in found or max(found, default=0) > 2 * len(found) + 256:
        raise CheckpointError(f"{WORLD} names id {0 if 0 in found else max(found)} among {len(found)} tokens.")
    pieces = [found.get(i, b"") for i in range(max(found, default=0) + 1)]
    encoder = LongestMatch({data: i for i, data in found.items()})
    end = frozenset({0, *ends})
    return Tokenizer(
        FragmentEncoder(encoder.encode, {}, (), ()),
        pieces,
        frozenset({0}) | end,
        end,
        special_tokens={"bos_token": "<s>"},
    )


def _plamo(text: str, config: Mapping[str, Any], named: Mapping[str, str], ends: Sequence[int]) -> Tokenizer:
    """A line a token: text, score, type and more."""
    scores: dict[str, tuple[int, float]] = {}
    byte_ids: dict[int, int] = {}
    pieces: list[bytes] = []
    control: dict[str, int] = {}
    for number, (token, score, kind) in enumerate(_rows(text)):
        pieces.append(token.encode())
        if kind == "BYTE":
            (pieces[-1],) = spelled.sentencepiece_pieces([token], (0,))
            byte_ids[pieces[-1][0]] = number
        elif kind in ("CONTROL", "UNKNOWN") or token.startswith("<|plamo:") and token.endswith("|>"):
            control[token] = number
        else:
            scores[token] = (number, score)
    encoder = FragmentEncoder(BestPath(scores, byte_ids).encode, control, control, ())
    eos = {control[named["eos_token"]]} if named.get("eos_token") in control else set()
    end = frozenset({*eos, *ends})
    bos = control.get(named.get("bos_token", ""))
    prefix = (bos,) if bos is not None and config.get("add_bos_token", True) else ()
    return Tokenizer(
        encoder, pieces, frozenset(control.values()) | end, end, prefix, special_tokens=dict(named), ids=control
    )


def _rows(text: str) -> list[tuple[str, float, str]]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            token, score, *rest = json.loads(line)
            kind = rest[0] if rest else "NORMAL"
            if not (isinstance(token, str) and isinstance(score, (int, float)) and isinstance(kind, str)):
                raise ValueError
        except (ValueError, TypeError, RecursionError) as err:
            raise CheckpointError(
                f"Line {number} of {PLAMO} is {line[:60]!r}; expected [token, score, type, ...]."
            ) from err
        found.append((token, float(score), kind))
    return found
