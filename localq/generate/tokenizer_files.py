"""A tokenizer from a repository's files: tokenizer.json (tokenizers), or a bare tokenizer.model (SentencePiece).

Two families publish neither: RWKV its own list of byte strings, PLaMo 2 and 3 a `tokenizer.jsonl` beside Python code,
which is not executed (`tokenizer_lists`).

tokenizer_config.json names the special tokens, generation_config.json (before config.json) the ids that end an
answer. `add_bos_token` / `add_eos_token` of tokenizer_config override what tokenizer.json's post-processor does, as
in transformers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from localq.errors import CheckpointError, UnsupportedError
from localq.generate import pieces as spelled
from localq.generate.sentencepiece_model import CONTROL, UNKNOWN, USER_DEFINED, SentencePieceEncoder
from localq.generate.tokenizer import Encoder, Tokenizer

ReadFile = Callable[[str], bytes | None]
_SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


class LibraryEncoder:
    """A tokenizers `Tokenizer` behind the two questions we ask it."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    @classmethod
    def with_added(cls, backend: Any, tokens: Sequence[str], kinds: Sequence[int]) -> LibraryEncoder:
        """`backend` with its control and user-defined tokens found in text as a whole."""
        from tokenizers import AddedToken

        def added(special: bool, *wanted: int) -> list[Any]:
            chosen = [t for t, k in zip(tokens, kinds, strict=True) if k in wanted]
            return [AddedToken(t, normalized=False, special=special) for t in chosen]

        backend.add_special_tokens(added(True, UNKNOWN, CONTROL))
        backend.add_tokens(added(False, USER_DEFINED))
        return cls(backend)

    def encode(self, text: str, parse_special: bool) -> list[int]:
        """Token ids, without BOS or EOS."""
        self.backend.encode_special_tokens = not parse_special
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return ids


def tokenizer_from_files(read: ReadFile) -> Tokenizer | None:
    """The tokenizer `read(file name)` leads to, None where there is none.

    Raises:
        CheckpointError: a file that is no JSON, or that the tokenizers library refuses.
        UnsupportedError: a decoder localq cannot stream.
    """
    config = read_json(read, "tokenizer_config.json")
    named = _special_tokens(config, read_json(read, "special_tokens_map.json"))
    data = read("tokenizer.json")
    if data is not None:
        return _from_json(data, config, named, _end_list(read))
    model = read("tokenizer.model")
    if model is not None:
        return _from_model(model, config, named, _end_list(read))
    from localq.generate.tokenizer_lists import tokenizer_from_lists

    return tokenizer_from_lists(read, config, named, _end_list(read))


def read_json(read: ReadFile, name: str) -> dict[str, Any]:
    """A JSON object beside the weights, empty where the file is missing."""
    data = read(name)
    if data is None:
        return {}
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise CheckpointError(f"{name} is no valid JSON: {err}.") from err
    if not isinstance(value, dict):
        raise CheckpointError(f"{name} holds a {type(value).__name__}; expected an object.")
    return value


def _from_json(data: bytes, config: Mapping[str, Any], named: dict[str, str], ends: list[int]) -> Tokenizer:
    import tokenizers

    try:
        backend = tokenizers.Tokenizer.from_buffer(data)
    except Exception as err:  # the library raises bare Exception
        raise CheckpointError(f"tokenizer.json is refused by the tokenizers library: {err}") from err
    backend.no_truncation()
    backend.no_padding()
    added = backend.get_added_tokens_decoder()
    control = frozenset(i for i, t in added.items() if t.special)
    tokens = _token_list(backend)
    pieces, strip = _pieces(json.loads(data).get("decoder"), tokens, added)
    ids = {t.content: i for i, t in added.items()}
    prefix, suffix = _surroundings(backend, config, {n: ids[t] for n, t in named.items() if t in ids})
    eos = backend.token_to_id(named["eos_token"]) if "eos_token" in named else None
    eos_ids = frozenset([*ends, *([] if eos is None else [eos])])
    encoder: Encoder = LibraryEncoder(backend)
    return Tokenizer(encoder, pieces, control | eos_ids, eos_ids, prefix, suffix, strip, named, ids)


def _token_list(backend: Any) -> list[str]:
    vocab = backend.get_vocab(with_added_tokens=True)
    size = 1 + max(vocab.values(), default=-1)
    if size > 2 * len(vocab) + (1 << 16):
        raise CheckpointError(f"tokenizer.json names token id {size - 1} in a vocabulary of {len(vocab)} tokens.")
    tokens = [""] * size
    for text, i in vocab.items():
        tokens[i] = text
    return tokens


def _pieces(decoder: Any, tokens: list[str], added: Mapping[int, Any]) -> tuple[list[bytes], bool]:
    """Bytes of every token as tokenizer.json's decoder spells them, and whether it drops a leading space."""
    steps = decoder.get("decoders", [decoder]) if isinstance(decoder, dict) else []
    kinds = {step.get("type"): step for step in steps}
    if "ByteLevel" in kinds:
        return spelled.byte_level_pieces(tokens, added), False
    if "Metaspace" in kinds:
        step = kinds["Metaspace"]
        return spelled.sentencepiece_pieces(tokens, ()), step.get("prepend_scheme", "always") != "never"
    if "ByteFallback" in kinds or "Replace" in kinds:
        strip = kinds.get("Strip", {})
        pieces = spelled.sentencepiece_pieces(tokens, None if "ByteFallback" in kinds else ())
        return pieces, strip.get("content") == " " and strip.get("start", 0) > 0
    if "WordPiece" in kinds and kinds["WordPiece"].get("prefix") == "##":
        return spelled.wordpiece_pieces(tokens, added), True
    raise UnsupportedError(
        f"tokenizer.json has the decoder {sorted(map(str, kinds)) or None}; localq knows ByteLevel, Metaspace, "
        "ByteFallback and WordPiece."
    )


def _surroundings(
    backend: Any, config: Mapping[str, Any], named: Mapping[str, int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids the post-processor puts around a text, corrected by tokenizer_config's add_bos_token / add_eos_token."""
    bare = backend.encode("a", add_special_tokens=False).ids
    full = backend.encode("a", add_special_tokens=True).ids
    at = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0) if bare else len(full)
    prefix, suffix = tuple(full[:at]), tuple(full[at + len(bare) :])
    bos, eos = named.get("bos_token"), named.get("eos_token")
    if config.get("add_bos_token") is False and prefix == (bos,):
        prefix = ()
    if config.get("add_bos_token") is True and not prefix and bos is not None:
        prefix = (bos,)
    if config.get("add_eos_token") is False and suffix == (eos,):
        suffix = ()
    if config.get("add_eos_token") is True and not suffix and eos is not None:
        suffix = (eos,)
    return prefix, suffix


def _special_tokens(*configs: Mapping[str, Any]) -> dict[str, str]:
    named: dict[str, str] = {}
    for config in configs:
        for name in _SPECIAL_NAMES:
            value = config.get(name)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                named.setdefault(name, text)
    return named


def _end_list(read: ReadFile) -> list[int]:
    """`eos_token_id` of generation_config.json, else of config.json (or its text part)."""
    for name in ("generation_config.json", "config.json"):
        config = read_json(read, name)
        value = config.get("eos_token_id", (config.get("text_config") or {}).get("eos_token_id"))
        if value is not None:
            ids = value if isinstance(value, list) else [value]
            if not all(isinstance(i, int) for i in ids):
                raise CheckpointError(f"eos_token_id in {name} is {value!r}; expected a number or a list of numbers.")
            return ids
    return []


def _from_model(model: bytes, config: Mapping[str, Any], named: dict[str, str], ends: list[int]) -> Tokenizer:
    """SentencePiece alone (old Llama and Mistral repositories); added tokens from tokenizer_config."""
    entries = (config.get("added_tokens_decoder") or {}).items()
    added = {int(i): v["content"] for i, v in entries if isinstance(v, dict) and "content" in v}
    control = {t for i, t in added.items() if config["added_tokens_decoder"][str(i)].get("special")}
    encoder = SentencePieceEncoder(model, control, set(added.values()) - control)
    sp = encoder.processor
    size = sp.GetPieceSize()
    if any(i >= size for i in added):
        raise UnsupportedError(
            f"tokenizer_config.json adds tokens beyond tokenizer.model's {size}.",
            "Use a repository with a tokenizer.json (transformers writes one with save_pretrained).",
        )
    tokens = [added.get(i, sp.IdToPiece(i)) for i in range(size)]
    control_ids = frozenset(i for i in range(size) if sp.IsControl(i) or sp.IsUnknown(i) or tokens[i] in control)
    pieces = spelled.sentencepiece_pieces(tokens, [i for i in range(size) if sp.IsByte(i)])
    eos = sp.eos_id()
    eos_ids = frozenset([*ends, *([eos] if eos >= 0 else [])])
    prefix = (sp.bos_id(),) if config.get("add_bos_token", True) and sp.bos_id() >= 0 else ()
    return Tokenizer(
        encoder,
        pieces,
        control_ids | eos_ids,
        eos_ids,
        prefix,
        (),
        True,
        named,
        {t: i for i, t in enumerate(tokens) if i in control_ids or i in added},
    )
