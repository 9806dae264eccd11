"""Small vocabularies for tiny models: byte-level BPE ("bpe", GPT-2 style) and SentencePiece BPE ("spm", Llama style).

The same vocabulary is written as tokenizer.json and as GGUF keys; both cover every byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # llama.cpp's token types

_MERGES = (
    "t h|th e|i n|a n|n d|a nd|e r|o u|r e|o n|e n|i s|i t|l l|s t|a t|{s} t|{s} a|{s}t h|{s}th e|{s} s|{s} w|{s} i"
    "|{s}i n|{s}a nd|o r|e s|e d|in g|h e|h a"
)
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<s>' + m['role'] + '\\n' + m['content'] + '</s>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, llama.cpp token types, merges (pairs), scores (spm) and special ids."""

    kind: str
    tokens: list[str]
    types: list[int]
    merges: list[tuple[str, str]]
    scores: list[float] = field(default_factory=list)
    bos: int = 1
    eos: int = 2
    pre: str = "gpt-2"


def byte_alphabet() -> list[str]:
    """GPT-2's printable stand-in of each byte (bytes_to_unicode of openai/gpt-2's encoder.py)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    table = {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(rest)}
    return [table[b] for b in range(256)]


def vocabulary(kind: str, size: int) -> Vocabulary:
    """A vocabulary of exactly `size` (at least 320) tokens; ids 0, 1, 2 are unknown, begin and end."""
    space = "\u2581" if kind == "spm" else byte_alphabet()[32]
    merges = [tuple(pair.split(" ")) for pair in _MERGES.format(s=space).split("|")]
    special = ["<unk>", "<s>", "</s>"]
    pieces = [f"<0x{b:02X}>" for b in range(256)] if kind == "spm" else byte_alphabet()
    singles = sorted({c for pair in merges for piece in pair for c in piece}) if kind == "spm" else []
    joined = list(dict.fromkeys(a + b for a, b in merges))
    tokens = [*special, *pieces, *joined, *singles]
    tokens += [f"[PAD{i}]" for i in range(len(tokens), size)]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE if kind == "spm" else NORMAL] * 256
    types += [NORMAL] * (len(joined) + len(singles))
    types += [5] * (size - len(types))  # unused
    scores = [0.0] * 259 + [-float(i) for i in range(len(joined))] + [-1000.0] * (size - 259 - len(joined))
    assert len(tokens) == len(types) == len(scores) == size, f"{len(tokens)} tokens do not fit in {size}"
    return Vocabulary(kind, tokens, types, merges, scores if kind == "spm" else [])


def tokenizer_json(v: Vocabulary) -> dict[str, Any]:
    """The `tokenizers` library's JSON of the vocabulary."""
    added = [
        {
            "id": i,
            "content": v.tokens[i],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i in range(3)
    ]
    spm = v.kind == "spm"
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    replace = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    spm_decoder = [
        replace,
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    spm_normalizer = [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": spm_normalizer} if spm else None,
        "pre_tokenizer": None if spm else byte_level,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": spm_decoder} if spm else byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>" if spm else None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": spm,
            "byte_fallback": spm,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(v.tokens)},
            "merges": [list(pair) for pair in v.merges],
        },
    }
