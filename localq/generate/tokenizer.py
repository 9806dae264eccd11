"""Text to token ids and back, the same for a tokenizer.json and for the vocabulary of a GGUF.

    encoder     tokenizers' Tokenizer (byte-level BPE, WordPiece, any tokenizer.json) or SentencePiece (GGUF)
    pieces      bytes of every id: detokenisation is ours, streaming and whole text give the same
    prefix_ids  put before a raw prompt (BOS); a chat template writes its own and is the only authority there
    eos_ids     every id that ends an answer

No transformers: importing it costs seconds. Where llama.cpp and Hugging Face disagree, a GGUF follows llama.cpp and
a tokenizer.json Hugging Face; `pretokenizers` says where the original regular expression is preferred.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from localq.checkpoints.base import Checkpoint
from localq.errors import UnsupportedError, UsageError
from localq.generate.detokenize import Detokenizer


class Encoder(Protocol):
    """Turns text into ids, without BOS and EOS."""

    def encode(self, text: str, parse_special: bool) -> list[int]:
        """`parse_special`: control tokens spelled in the text become those tokens."""
        ...


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """A vocabulary and how to use it; made by `open_tokenizer`."""

    encoder: Encoder
    pieces: Sequence[bytes]
    control_ids: frozenset[int] = frozenset()  # give no text of their own
    eos_ids: frozenset[int] = frozenset()
    prefix_ids: tuple[int, ...] = ()
    suffix_ids: tuple[int, ...] = ()
    strip_space: bool = False  # text starts with a space that the encoder put there
    special_tokens: Mapping[str, str] = field(default_factory=dict)  # "bos_token": "<s>", for chat templates
    ids: Mapping[str, int] = field(default_factory=dict)  # control and user-defined tokens by their text

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.pieces)

    def encode(self, text: str, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """Ids of `text`.

        `add_special` puts BOS (and EOS) where the model wants them in front of raw text; text out of a chat template
        carries its own. With `parse_special` off, `<|im_end|>` in the text is read as nine characters.

        Raises:
            UsageError: the text is no valid Unicode (half of a surrogate pair).
        """
        try:
            text.encode()
        except UnicodeEncodeError as err:
            raise UsageError(f"The text holds half a character at position {err.start}; give valid Unicode.") from err
        ids = self.encoder.encode(text, parse_special)
        return [*self.prefix_ids, *ids, *self.suffix_ids] if add_special else ids

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """Text of `ids`; control tokens give none unless `skip_special` is off."""
        stream = Detokenizer(self.pieces, self.control_ids if skip_special else (), self.strip_space)
        return "".join([*map(stream.add, ids), stream.finish()])

    def detokenizer(self, *, shown: Iterable[int] = (), continues: bool = False) -> Detokenizer:
        """A stream decoder; `shown` control ids give their text, `continues` keeps the space of a first word."""
        return Detokenizer(self.pieces, self.control_ids - set(shown), self.strip_space and not continues)


def open_tokenizer(ckpt: Checkpoint) -> Tokenizer:
    """The tokenizer of a checkpoint: its tokenizer.json, or the vocabulary in a GGUF's metadata.

    Raises:
        UnsupportedError: no tokenizer, or one of a kind localq does not know.
        CheckpointError: a tokenizer that contradicts itself.
    """
    if ckpt.container == "gguf" and "tokenizer.ggml.model" in ckpt.metadata:
        from localq.generate.tokenizer_gguf import tokenizer_from_gguf

        return tokenizer_from_gguf(ckpt.metadata)
    from localq.generate.tokenizer_files import tokenizer_from_files

    found = tokenizer_from_files(ckpt.file)
    if found is None:
        raise UnsupportedError(
            f"No tokenizer in {ckpt.path}: neither tokenizer.json nor tokenizer.model nor a vocabulary in metadata.",
            "Put the model's tokenizer.json beside its weights.",
        )
    return found
