"""A Hugging Face style config from a GGUF file's keys and tensors, complete enough for mlx-lm's `ModelArgs`.

Every value comes from the file, from a tensor's shape, or is a fact of the architecture told in its entry. Keys that
no entry reads are refused by name (`ModelKeys.refuse_unread`), so nothing that changes the computation is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.checkpoints.architectures import find
from localq.checkpoints.keys import ModelKeys, brief
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import Read, Stored


def config_from_gguf(
    metadata: Mapping[str, Any], tensors: Mapping[str, Stored], read: Read
) -> tuple[str, dict[str, Any]]:
    """Hugging Face `model_type` and config of a GGUF model.

    Args:
        metadata: the file's key/value pairs, arrays possibly lazy.
        tensors: GGUF name -> stored tensor.
        read: gives the stored bytes of a tensor by its GGUF name (rope factors).

    Raises:
        UnsupportedError: architecture, rope scaling or a key localq does not know.
        CheckpointError: a needed key or tensor is missing or of another kind.
    """
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise CheckpointError(f"The GGUF file names no architecture (general.architecture is {brief(architecture)}).")
    keys = ModelKeys(architecture, metadata, tensors, read)
    entry = find(keys)
    config = {
        "model_type": entry.model_type,
        **entry.config(keys),
        **_token_ids(metadata, keys.shape("token_embd.weight")[0]),
    }
    keys.refuse_unread()
    return entry.model_type, config


def _token_ids(metadata: Mapping[str, Any], vocabulary: int) -> dict[str, Any]:
    """Special ids as Hugging Face spells them; every end-of-turn token GGUF knows of is an end of sequence."""
    found = {kind: _token_id(metadata, kind, vocabulary) for kind in ("bos", "padding", "eos", "eot", "eom")}
    ends = list(dict.fromkeys(found[kind] for kind in ("eos", "eot", "eom") if found[kind] is not None))
    ids = {
        "bos_token_id": found["bos"],
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": found["padding"],
    }
    return {name: value for name, value in ids.items() if value is not None}


def _token_id(metadata: Mapping[str, Any], kind: str, vocabulary: int) -> int | None:
    name = f"tokenizer.ggml.{kind}_token_id"
    found = metadata.get(name)
    if found is None or found in (-1, 0xFFFFFFFF):  # LLAMA_TOKEN_NULL: the model has no such token
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < vocabulary:
        raise CheckpointError(f"The GGUF key '{name}' is {brief(found)}; expected a token id below {vocabulary}.")
    return found
