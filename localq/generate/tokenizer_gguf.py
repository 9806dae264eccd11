"""A tokenizer from a GGUF's metadata (`tokenizer.ggml.*`), as llama.cpp reads them (src/llama-vocab.cpp).

model   gpt2   byte-level BPE: tokens, merges and a pre-tokenizer named by `pre` (see `pretokenizers`)
        llama  SentencePiece BPE: tokens and scores, merged by score
        t5     SentencePiece unigram with its normalisation table
        gemma4 byte-pair encoding over text itself (see `spaced_bpe`)
        bert   WordPiece, words marked with U+2581 instead of continuations with ##
        rwkv   bytes, longest match (see `longest_match`)
        plamo2 pieces with scores, cheapest way (see `best_path`)
        whitespace  byte-pair encoding of words over text itself, white space dropped
        hybriddna   gpt2, and k-mers between <dna> and </dna> (see `kmers`)
Kinds of tokens (`token_type`): 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from localq.errors import CheckpointError, UnsupportedError
from localq.generate import pieces as spelled
from localq.generate.best_path import BestPath
from localq.generate.fragments import FragmentEncoder
from localq.generate.kmers import MARK, DnaEncoder
from localq.generate.longest_match import LongestMatch, unescaped
from localq.generate.pretokenizers import split_rule
from localq.generate.sentencepiece_model import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    USER_DEFINED,
    PieceTable,
    SentencePieceEncoder,
    model_bytes,
)
from localq.generate.spaced_bpe import PRE_NAMES, spaced_bpe
from localq.generate.specials import SpecialIds, end_ids, special_ids
from localq.generate.tokenizer import Encoder, Tokenizer
from localq.generate.tokenizer_files import LibraryEncoder

_PREFIX = "tokenizer.ggml."


class Vocabulary(NamedTuple):
    """The arrays every kind of tokenizer has."""

    tokens: list[str]
    kinds: list[int]
    meta: Mapping[str, Any]

    def of_kind(self, *kinds: int) -> list[int]:
        """Ids of the given kinds."""
        return [i for i, k in enumerate(self.kinds) if k in kinds]

    def get(self, key: str, default: Any = None) -> Any:
        """One `tokenizer.ggml.` value."""
        return self.meta.get(_PREFIX + key, default)


def tokenizer_from_gguf(meta: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer a GGUF's metadata describe.

    Raises:
        UnsupportedError: a tokenizer model or pre-tokenizer localq does not know.
        CheckpointError: arrays that are missing, of different lengths, or refused by the tokenizer library.
    """
    model = meta[_PREFIX + "model"]
    builders = {"gpt2": _byte_level, "llama": _sentencepiece, "t5": _sentencepiece, "bert": _wordpiece}
    builders |= {"gemma4": _spaced, "rwkv": _rwkv, "plamo2": _plamo, "whitespace": _words, "hybriddna": _byte_level}
    if model not in builders:
        raise UnsupportedError(
            f"The GGUF's tokenizer is '{model}'; localq knows {', '.join(builders)}.",
            "Use another build of this model, or its safetensors repository with a tokenizer.json.",
        )
    return builders[model](_vocabulary(meta))


def _vocabulary(meta: Mapping[str, Any]) -> Vocabulary:
    tokens = list(_array(meta, "tokens", None))
    if not tokens or not all(isinstance(t, str) for t in tokens):
        raise CheckpointError("The GGUF's tokenizer.ggml.tokens is empty or holds something else than text.")
    kinds = [int(k) for k in _array(meta, "token_type", len(tokens), [NORMAL] * len(tokens))]
    tokens = [t or f"[EMPTY_{i}]" for i, t in enumerate(tokens)]  # llama.cpp's spelling
    if len(set(tokens)) != len(tokens):
        first: dict[str, int] = {}
        twice = next((t, i) for i, t in enumerate(tokens) if first.setdefault(t, i) != i)
        raise CheckpointError(f"Token {twice[0]!r} stands twice in the GGUF's vocabulary ({twice[1]} is the second).")
    return Vocabulary(tokens, kinds, meta)


def _array(meta: Mapping[str, Any], key: str, length: int | None, default: Sequence[Any] | None = None) -> Any:
    """Metadata array `tokenizer.ggml.<key>`, at least `length` long and cut to it."""
    value = meta.get(_PREFIX + key, default)
    if value is None or isinstance(value, (str, bytes, int, float)):
        raise CheckpointError(f"The GGUF lacks the array tokenizer.ggml.{key}, which its tokenizer needs.")
    if length is not None and len(value) < length:
        raise CheckpointError(f"tokenizer.ggml.{key} has {len(value)} entries for {length} tokens.")
    return value if length is None else list(value)[:length]


def _assemble(vocab: Vocabulary, encoder: Encoder, pieces: list[bytes], ids: SpecialIds, strip: bool) -> Tokenizer:
    named = {name: vocab.tokens[i] for name, i in ids.named.items()}
    marked = vocab.of_kind(UNKNOWN, CONTROL, USER_DEFINED)
    ends = end_ids(vocab.tokens, ids)
    return Tokenizer(
        encoder=encoder,
        pieces=pieces,
        control_ids=frozenset(vocab.of_kind(UNKNOWN, CONTROL)) | ends,
        eos_ids=ends,
        prefix_ids=ids.prefix,
        suffix_ids=ids.suffix,
        strip_space=strip,
        special_tokens=named,
        ids={vocab.tokens[i]: i for i in marked},
    )


def _byte_level(vocab: Vocabulary) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    pre = vocab.get("pre")
    if pre in PRE_NAMES:
        return _spaced(vocab)
    if pre == "whitespace":
        return _words(vocab)
    if pre is None:
        warnings.warn(
            "This old GGUF does not name its pre-tokenizer (tokenizer.ggml.pre); 'default' is used as in llama.cpp and "
            "answers may be worse. A newer conversion of the model has the name.",
            stacklevel=2,
        )
    rule = split_rule("default" if pre is None else pre)
    merges = _merges(vocab)
    model_ids = {t: i for i, t in enumerate(vocab.tokens)}
    try:
        backend = Tokenizer(models.BPE(vocab=model_ids, merges=merges, ignore_merges=rule.ignore_merges))
    except Exception as err:  # the library raises bare Exception
        raise CheckpointError(f"The GGUF's merges do not fit its vocabulary: {err}") from err
    splits = [pre_tokenizers.Split(Regex(p), "isolated") for p in rule.patterns]
    backend.pre_tokenizer = pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(False, use_regex=False)])
    raw = vocab.of_kind(UNKNOWN, CONTROL, USER_DEFINED)
    ids = special_ids(vocab.meta, len(vocab.tokens), add_bos=rule.add_bos)
    if vocab.get("model") == "hybriddna":
        encoder = _fragments(vocab, DnaEncoder(lambda text: list(backend.encode(text).ids), model_ids).encode)
        plain = [t.removesuffix(MARK) for t in vocab.tokens]
        return _assemble(vocab, encoder, spelled.byte_level_pieces(plain, raw), ids, False)
    plain_encoder = LibraryEncoder.with_added(backend, vocab.tokens, vocab.kinds)
    return _assemble(vocab, plain_encoder, spelled.byte_level_pieces(vocab.tokens, raw), ids, False)


def _fragments(vocab: Vocabulary, encode: Callable[[str], list[int]]) -> Encoder:
    """`encode` for what lies between the vocabulary's special tokens."""
    control, plain = vocab.of_kind(UNKNOWN, CONTROL), vocab.of_kind(USER_DEFINED)
    ids = {vocab.tokens[i]: i for i in (*control, *plain)}
    return FragmentEncoder(encode, ids, (vocab.tokens[i] for i in control), (vocab.tokens[i] for i in plain))


def _words(vocab: Vocabulary) -> Tokenizer:
    """Words over text itself; white space gives no token, nor do characters the vocabulary lacks (as in llama.cpp)."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    if (vocab.get("model"), vocab.get("pre")) != ("whitespace", "whitespace"):
        raise UnsupportedError(
            f"The GGUF's tokenizer is {vocab.get('model')!r} with the pre-tokenizer {vocab.get('pre')!r}; localq knows "
            "'whitespace' with 'whitespace' alone.",
            "Convert the model again with a current llama.cpp.",
        )
    known = {t: i for i, t in enumerate(vocab.tokens)}
    try:
        backend = Tokenizer(models.BPE(vocab=known, merges=_merges(vocab)))
    except Exception as err:  # the library raises bare Exception
        raise CheckpointError(f"The GGUF's merges do not fit its vocabulary: {err}") from err
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    lower = bool(vocab.get("normalizer.lowercase", False))

    def encode(text: str) -> list[int]:
        # one character for one: those whose lower case is longer stay
        small = "".join(c.lower() if len(c.lower()) == 1 else c for c in text) if lower else text
        # no merge goes over an unknown character; tokenizers would close the gap
        return list(backend.encode("".join(c if c in known else "\n" for c in small)).ids)

    ids = special_ids(vocab.meta, len(vocab.tokens))
    return _assemble(vocab, _fragments(vocab, encode), [t.encode() for t in vocab.tokens], ids, False)


def _rwkv(vocab: Vocabulary) -> Tokenizer:
    text = [i for i, kind in enumerate(vocab.kinds) if kind == NORMAL]
    pieces = [unescaped(t) if kind == NORMAL else t.encode() for t, kind in zip(vocab.tokens, vocab.kinds, strict=True)]
    tokens: dict[bytes, int] = {pieces[i]: i for i in text}
    encoder = _fragments(vocab, LongestMatch(tokens).encode)
    return _assemble(vocab, encoder, pieces, special_ids(vocab.meta, len(pieces)), False)


def _plamo(vocab: Vocabulary) -> Tokenizer:
    values = _array(vocab.meta, "scores", len(vocab.tokens))
    scores = {vocab.tokens[i]: (i, float(values[i])) for i in vocab.of_kind(NORMAL, USER_DEFINED)}
    pieces = [t.encode() for t in vocab.tokens]
    byte_ids: dict[int, int] = {}
    for i in vocab.of_kind(BYTE):
        (pieces[i],) = spelled.sentencepiece_pieces([vocab.tokens[i]], (0,))
        byte_ids[pieces[i][0]] = i
    ids = special_ids(vocab.meta, len(pieces), defaults={"bos": 1, "eos": 2, "unknown": 0, "padding": 3})
    return _assemble(vocab, _fragments(vocab, BestPath(scores, byte_ids).encode), pieces, ids, False)


def _merges(vocab: Vocabulary) -> list[tuple[str, str]]:
    found = []
    for merge in _array(vocab.meta, "merges", None):
        left, _, right = merge[1:].partition(" ")  # a token may begin with a space
        found.append((merge[:1] + left, right))
    return found


def _spaced(vocab: Vocabulary) -> Tokenizer:
    """Gemma 4 always begins with BOS, whatever its files say (as in llama.cpp); Sarvam as its file says."""
    gemma = vocab.get("pre") != "sarvam-moe"
    forced = {_PREFIX + "add_bos_token": True} if gemma and vocab.get("bos_token_id") is not None else {}
    ids = special_ids({**vocab.meta, **forced}, len(vocab.tokens))
    unknown = vocab.tokens[ids.named["unk_token"]] if "unk_token" in ids.named else None
    backend = spaced_bpe({t: i for i, t in enumerate(vocab.tokens)}, _merges(vocab), unknown)
    encoder = LibraryEncoder.with_added(backend, vocab.tokens, vocab.kinds)
    pieces = spelled.sentencepiece_pieces(vocab.tokens, vocab.of_kind(BYTE))
    return _assemble(vocab, encoder, pieces, ids, False)


def _sentencepiece(vocab: Vocabulary) -> Tokenizer:
    unigram = vocab.get("model") == "t5"
    defaults = {"bos": None if unigram else 1, "eos": 1 if unigram else 2, "unknown": 2 if unigram else 0}
    ids = special_ids(vocab.meta, len(vocab.tokens), add_bos=not unigram, add_eos=unigram, defaults=defaults)
    unknown = ids.named_id("unk_token")
    kinds = [CONTROL if k == UNKNOWN and i != unknown else k for i, k in enumerate(vocab.kinds)]
    if unknown is None:
        raise CheckpointError("The GGUF's SentencePiece vocabulary names no unknown token.")
    kinds[unknown] = UNKNOWN
    prefix = bool(vocab.get("add_space_prefix", True))
    table = PieceTable(
        pieces=vocab.tokens,
        scores=_array(vocab.meta, "scores", len(vocab.tokens)),
        kinds=[k if NORMAL <= k <= BYTE else NORMAL for k in kinds],
        unigram=unigram,
        add_space_prefix=prefix,
        remove_extra_spaces=bool(vocab.get("remove_extra_whitespaces", False)),
        charsmap=bytes(b & 255 for b in vocab.get("precompiled_charsmap", ())),
    )
    control, plain = vocab.of_kind(UNKNOWN, CONTROL), vocab.of_kind(USER_DEFINED)
    encoder = SentencePieceEncoder(
        model_bytes(table), [vocab.tokens[i] for i in control], [vocab.tokens[i] for i in plain]
    )
    pieces = spelled.sentencepiece_pieces(vocab.tokens, vocab.of_kind(BYTE))
    return _assemble(vocab, encoder, pieces, ids, prefix)


def _wordpiece(vocab: Vocabulary) -> Tokenizer:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    special = set(vocab.of_kind(UNKNOWN, CONTROL, USER_DEFINED))
    tokens = [t if i in special else t[1:] if t.startswith(SPACE) else "##" + t for i, t in enumerate(vocab.tokens)]
    defaults = {"bos": 101, "cls": 101, "seperator": 102, "unknown": 100}
    ids = special_ids(vocab.meta, len(tokens), add_bos=True, add_sep=True, defaults=defaults)
    lower = bool(vocab.get("normalizer.lowercase", True))
    unknown = ids.named_id("unk_token")
    if unknown is None:
        raise CheckpointError("The GGUF's WordPiece vocabulary names no unknown token.")
    backend = Tokenizer(
        models.WordPiece(
            vocab={t: i for i, t in enumerate(tokens)}, unk_token=tokens[unknown], max_input_chars_per_word=1 << 20
        )
    )
    backend.normalizer = normalizers.BertNormalizer(
        lowercase=lower, strip_accents=bool(vocab.get("normalizer.strip_accents", lower))
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    encoder = LibraryEncoder.with_added(backend, tokens, vocab.kinds)
    return _assemble(vocab, encoder, spelled.wordpiece_pieces(tokens, special), ids, True)
