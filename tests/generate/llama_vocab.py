"""llama.cpp as tokenizer: vocabulary-only models through llama-cpp-python's C interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

_KEPT: list[Any] = []  # the log callback must outlive every call


class LlamaVocab:
    """The vocabulary of a GGUF as llama.cpp reads it."""

    def __init__(self, path: Path) -> None:
        self.api = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
        if not _KEPT:
            _KEPT.append(self.api.llama_log_callback(lambda *_: None))
            self.api.llama_log_set(_KEPT[0], None)
            self.api.llama_backend_init()
        params = self.api.llama_model_default_params()
        params.vocab_only = True
        self.model = self.api.llama_model_load_from_file(str(path).encode(), params)
        assert self.model, f"llama.cpp refuses {path}"
        self.vocab = self.api.llama_model_get_vocab(self.model)

    def encode(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        data = text.encode()
        out = (self.api.llama_token * (4 * len(data) + 16))()
        count = self.api.llama_tokenize(self.vocab, data, len(data), out, len(out), add_special, parse_special)
        assert count >= 0
        return list(out[:count])

    def ends(self, size: int) -> set[int]:
        return {i for i in range(size) if self.api.llama_vocab_is_eog(self.vocab, i)}

    def close(self) -> None:
        self.api.llama_model_free(self.model)
