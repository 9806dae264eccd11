"""Byte-pair encoding over text itself, spaces written as U+2581 and unknown characters as bytes (Gemma 4, Sarvam).

llama.cpp (src/llama-vocab.cpp, `gemma4` and `sarvam-moe`) cuts text at line breaks only. The tokenizer.json of these
models merges runs of breaks; where a GGUF's merges leave them out, they are made up again from the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localq.errors import CheckpointError

PRE_NAMES = ("gemma4", "granite-embed-multi-311m", "sarvam-moe")
SPACE = "\u2581"


def spaced_bpe(ids: Mapping[str, int], merges: Sequence[tuple[str, str]], unknown: str | None) -> Any:
    """A tokenizers `Tokenizer` of these tokens and merges.

    Raises:
        CheckpointError: merges that name tokens the vocabulary lacks.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    known = list(merges)
    if not any("\n" in part for pair in known for part in pair):
        known += _breaks(ids)
    try:
        model = models.BPE(vocab=dict(ids), merges=known, unk_token=unknown, fuse_unk=True, byte_fallback=True)
        backend = Tokenizer(model)
    except Exception as err:  # the library raises bare Exception
        raise CheckpointError(f"The GGUF's merges do not fit its vocabulary: {err}") from err
    backend.normalizer = normalizers.Replace(" ", SPACE)
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|\n+"), "isolated")
    return backend


def _breaks(ids: Mapping[str, int]) -> list[tuple[str, str]]:
    """Merges that make every run of line breaks the vocabulary has, shorter runs first."""
    runs = sorted(len(token) for token in ids if token and not token.strip("\n"))[:64]
    if 1 not in runs:
        return []
    return [("\n" * a, "\n" * (length - a)) for length in runs for a in runs if length - a in runs]
