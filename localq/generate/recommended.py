"""Sampling options that a checkpoint recommends: generation_config.json, or the metadata of a GGUF.

Both may name tokens that are never to be chosen (`suppress_tokens`: parts of images and sounds in models that also
read those). Read as vLLM and llama.cpp (common/common.cpp, `general.sampling.*`) read them; what localq's samplers do
not have (mirostat, XTC, beams, `do_sample`) is passed over.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.base import Checkpoint
from localq.errors import CheckpointError, UsageError
from localq.generate.samplers import Sampling
from localq.generate.tokenizer_files import read_json

_FILE = "generation_config.json"
_OF_FILE = {name: name for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "suppress_tokens")}
_OF_GGUF = {
    "general.sampling.temp": "temperature",
    "general.sampling.top_k": "top_k",
    "general.sampling.top_p": "top_p",
    "general.sampling.min_p": "min_p",
    "general.sampling.penalty_repeat": "repetition_penalty",
    "tokenizer.ggml.suppress_tokens": "suppress_tokens",
}


def recommended(ckpt: Checkpoint) -> dict[str, Any]:
    """Options of `Sampling`, only those given.

    Raises:
        CheckpointError: a value that no option may have.
    """
    packed = ckpt.container == "gguf"
    stated = ckpt.metadata if packed else read_json(ckpt.file, _FILE)
    names = _OF_GGUF if packed else _OF_FILE
    found = {option: stated[name] for name, option in names.items() if stated.get(name) is not None}
    if found.get("top_k", 0) == -1:
        found["top_k"] = 0  # "all" to vLLM and llama.cpp
    try:
        Sampling(**found)
    except UsageError as err:
        where = "The GGUF's metadata" if packed else _FILE
        raise CheckpointError(f"{where}: {err.message}", "Correct or remove that value.") from err
    return found
