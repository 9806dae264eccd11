"""llama.cpp as the second engine: logits and greedy tokens of a GGUF on the CPU, float32 KV, no flash attention."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray


@contextlib.contextmanager
def opened(path: Path | str, n_ctx: int = 64) -> Iterator[Any]:
    """A `llama_cpp.Llama` on `path`; skips the test where llama-cpp-python is not installed."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python (extra `llama`) is the second engine")
    with _without_amx(llama_cpp):
        engine = llama_cpp.Llama(
            str(path),
            n_ctx=n_ctx,
            n_batch=n_ctx,
            n_ubatch=n_ctx,
            n_threads=2,
            n_threads_batch=2,
            logits_all=True,
            flash_attn=False,
            type_k=0,
            type_v=0,
            verbose=False,
        )
    try:
        yield engine
    finally:
        engine.close()


@contextlib.contextmanager
def _without_amx(llama_cpp: Any) -> Iterator[None]:
    """No AMX buffers, whose products end the process (localq/engines/llama.py): `Llama` has no argument for it."""
    api = llama_cpp.llama_cpp
    default = api.llama_model_default_params

    def params() -> Any:
        found = default()
        if b"AMX_INT8 = 1" in api.llama_print_system_info():
            found.use_extra_bufts = False
        return found

    with mock.patch.object(api, "llama_model_default_params", params):
        yield


def logits(path: Path | str, ids: Sequence[int], n_ctx: int = 64) -> NDArray[np.float32]:
    """Logits `[tokens, vocab]` of one prefill."""
    with opened(path, n_ctx) as engine:
        engine.eval(list(ids))
        return np.array(engine.scores[: len(ids)], np.float32)


def greedy(path: Path | str, ids: Sequence[int], count: int, n_ctx: int = 512) -> list[int]:
    """`count` greedy tokens after `ids`, one decode step each, end tokens included like any other."""
    with opened(path, n_ctx) as engine:
        engine.eval(list(ids))
        out: list[int] = []
        while True:
            out.append(int(np.argmax(engine.scores[engine.n_tokens - 1])))
            if len(out) == count:
                return out
            engine.eval(out[-1:])
