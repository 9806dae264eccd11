"""Which tokens begin and end: ids named in metadata, and the ends of turns known by their text.

Source: llama.cpp src/llama-vocab.cpp (`llama_vocab::impl::load`: special tokens, `special_eog_ids`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from localq.errors import CheckpointError

# Token texts that end a turn whatever the metadata say: converters often name only one of them.
END_TEXTS = frozenset(
    "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> <|eom_id|> "
    "<EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> "
    "<｜end▁of▁sentence｜> [e~[ <|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD] <|fim_repo|> <|repo_name|> <fim-repo> "
    "<REPO> <reponame> <|file_sep|>".split()
)
# In these vocabularies the token closes a part of an answer, not the answer.
_NOT_AN_END = (
    ("<|end|>", {"<|return|>", "<|call|>"}),
    ("<|end|>", {"<|calls|>", "<|flush|>"}),
    ("</s>", {"<|tool_response>"}),
)
_NAMES = {
    "bos_token": ("bos", "cls"),
    "eos_token": ("eos",),
    "unk_token": ("unknown",),
    "pad_token": ("padding",),
    "sep_token": ("seperator",),  # GGUF's own spelling
    "cls_token": ("cls",),
    "mask_token": ("mask",),
}
_ABSENT = 2**32 - 1  # converters write -1 for "none"


class SpecialIds(NamedTuple):
    """`named` as chat templates call them ("bos_token"), what goes around raw text, and the named ends."""

    named: dict[str, int]
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    ends: frozenset[int]

    def named_id(self, name: str) -> int | None:
        """The id of "bos_token" and the like."""
        return self.named.get(name)


def special_ids(
    meta: Mapping[str, Any],
    size: int,
    *,
    add_bos: bool = False,
    add_eos: bool = False,
    add_sep: bool = False,
    defaults: Mapping[str, int | None] | None = None,
) -> SpecialIds:
    """Special ids of a vocabulary of `size` tokens; `add_*` and `defaults` hold where the metadata are silent.

    Raises:
        CheckpointError: an id outside the vocabulary, or a BOS to be added that has no id.
    """
    ids: dict[str, int] = {}
    for key in ("bos", "eos", "eot", "eom", "unknown", "padding", "seperator", "cls", "mask"):
        value = _token_id(meta, key, size)
        default = (defaults or {}).get(key)
        if value is None and default is not None and default < size:
            value = default
        if value is not None:
            ids[key] = value
    named = {name: ids[k] for name, keys in _NAMES.items() for k in reversed(keys) if k in ids}
    wanted = {
        key: bool(meta.get(f"tokenizer.ggml.add_{key}_token", on))
        for key, on in (("bos", add_bos), ("eos", add_eos), ("sep", add_sep))
    }
    prefix = (_needed(named, "bos_token"),) if wanted["bos"] else ()
    suffix: tuple[int, ...] = (_needed(named, "eos_token"),) if wanted["eos"] else ()
    suffix += (_needed(named, "sep_token"),) if wanted["sep"] else ()
    return SpecialIds(named, prefix, suffix, frozenset(ids[k] for k in ("eos", "eot", "eom") if k in ids))


def end_ids(tokens: Sequence[str], ids: SpecialIds) -> frozenset[int]:
    """Every id that ends an answer: the named ones and those known by their text."""
    found = {t: i for i, t in enumerate(tokens) if t in END_TEXTS}
    ends = set(ids.ends) | set(found.values())
    for text, beside in _NOT_AN_END:
        if text in found and beside <= found.keys():
            ends.discard(found[text])
    return frozenset(ends)


def _token_id(meta: Mapping[str, Any], key: str, size: int) -> int | None:
    value = meta.get(f"tokenizer.ggml.{key}_token_id")
    if value is None or value in (-1, _ABSENT):
        return None
    if not isinstance(value, int) or not 0 <= value < size:
        raise CheckpointError(f"tokenizer.ggml.{key}_token_id is {value!r}; the vocabulary has {size} tokens.")
    return value


def _needed(named: Mapping[str, int], name: str) -> int:
    if name not in named:
        raise CheckpointError(f"The GGUF asks for its {name.replace('_', ' ')} around every text but names none.")
    return named[name]
