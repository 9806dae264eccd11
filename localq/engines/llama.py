"""The llama.cpp engine: a GGUF through llama-cpp-python's C interface, an optional extra.

A failed assertion in ggml ends the whole process, so everything is checked before it is handed over: the file was
opened and validated by localq's own reader, ids are inside the vocabulary, and no batch is longer than the context.
llama.cpp allocates the KV cache of the whole context at once: the default context is the model's own, at most 8192.
"""

from __future__ import annotations

import ctypes
from collections.abc import Generator, Sequence
from types import ModuleType
from typing import Any

import mlx.core as mx
import numpy as np

from localq.checkpoints.base import Checkpoint
from localq.engines.base import Logits, check_ids, read_context, within_context
from localq.errors import DoesNotFitError, LocalqError, UnsupportedError
from localq.generate.samplers import Sampler, Sampling

DEFAULT_CONTEXT = 8192
BATCH = 512
_ERROR = 4  # GGML_LOG_LEVEL_ERROR


def installed() -> bool:
    """Whether llama-cpp-python is there, without loading its library."""
    import importlib.util

    return importlib.util.find_spec("llama_cpp") is not None


class LlamaEngine:
    """A GGUF run by llama.cpp. See `Engine`.

    Raises:
        UnsupportedError: llama-cpp-python is missing, the checkpoint is no GGUF, or llama.cpp does not know it.
        DoesNotFitError: a longer context than the model's, or no memory for it.
    """

    name = "llama"
    reused = 0

    def __init__(self, checkpoint: Checkpoint, context: int | None = None) -> None:
        self._api = _library()
        if checkpoint.container != "gguf":
            raise UnsupportedError(
                f"'{checkpoint.path}' is {checkpoint.container}; llama.cpp runs GGUF only.", "Use --engine mlx."
            )
        self._log = _Log(self._api)
        self._model: Any = None
        self._context: Any = None
        self._load(checkpoint.path)
        trained = self._api.llama_model_n_ctx_train(self._model)
        own = read_context(context, trained, f"'{checkpoint.path}'")
        self.context = own if context is not None else min(own, DEFAULT_CONTEXT)
        self.vocabulary = int(self._api.llama_vocab_n_tokens(self._api.llama_model_get_vocab(self._model)))
        self._start()
        self._held: list[int] = []  # ids whose keys and values are in the cache

    def _load(self, path: str) -> None:
        api = self._api
        api.llama_backend_init()
        params = api.llama_model_default_params()
        if b"AMX_INT8 = 1" in api.llama_print_system_info():
            # ggml's AMX buffers kill the process on several tokens of a quantised file (seen with llama-cpp-python
            # 0.3.36 on a Sapphire Rapids VM, every type tried); without them AVX-512 multiplies.
            params.use_extra_bufts = False
        with self._log:
            self._model = api.llama_model_load_from_file(path.encode(), params)
        if not self._model:
            raise UnsupportedError(f"llama.cpp cannot load '{path}': {self._log.last}.", "Try --engine mlx.")

    def _start(self) -> None:
        params = self._api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_seq_max = self.context, min(BATCH, self.context), 1
        params.n_ubatch = params.n_batch
        params.no_perf = True
        with self._log:
            self._context = self._api.llama_init_from_model(self._model, params)
        if not self._context:
            self.close()
            raise DoesNotFitError(
                f"llama.cpp has no memory for a context of {self.context} tokens: {self._log.last}.",
                "Give a smaller --context.",
            )
        self._batch = self._api.llama_batch_init(params.n_batch, 0, 1)

    def logits(self, ids: Sequence[int]) -> Logits:
        """Logits `[tokens, vocabulary]`, float32."""
        found = check_ids(ids, self.context, self.vocabulary)
        self._keep(0)
        return np.concatenate(list(self._feed(found, every=True)))

    def generate(self, ids: Sequence[int], sampling: Sampling) -> Generator[int]:
        """Yield new token ids; what the new prompt shares with the last one is not computed again."""
        found = check_ids(ids, self.context, self.vocabulary, room=1)
        self._open()
        limit = within_context(sampling, len(found), self.context).max_tokens
        sampler = Sampler(sampling, found)
        self.reused = self._keep(_shared(self._held, found[:-1]))
        rows = list(self._feed(found[self.reused :], every=False))[-1]
        for count in range(1, (limit or 0) + 1):
            if np.isnan(rows).any():
                raise LocalqError(f"The model's logits stopped being numbers at answer token {count}.")
            token = int(np.asarray(sampler(mx.array(rows[-1:])))[0])
            yield token
            if count != limit:
                rows = next(iter(self._feed([token], every=False)))

    def _feed(self, ids: list[int], every: bool) -> Generator[Logits]:
        """Run ids through the model in batches; logits of every position, or of each batch's last."""
        size = min(BATCH, self.context)
        for start in range(0, len(ids), size):
            part = ids[start : start + size]
            self._fill(part, every)
            with self._log:
                code = self._api.llama_decode(self._open(), self._batch)
            if code != 0:
                self._held = []
                raise LocalqError(f"llama.cpp could not compute {len(part)} tokens (code {code}): {self._log.last}.")
            self._held += part
            count = len(part) if every else 1
            values = np.ctypeslib.as_array(self._api.llama_get_logits(self._context), (count * self.vocabulary,))
            yield np.array(values, np.float32).reshape(count, self.vocabulary)

    def _fill(self, ids: list[int], every: bool) -> None:
        batch = self._batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, len(self._held) + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = every or i == len(ids) - 1

    def _keep(self, count: int) -> int:
        """Forget all but the first `count` tokens; the number really kept (recurrent models can only start over)."""
        memory = self._api.llama_get_memory(self._open())
        if count and self._api.llama_memory_seq_rm(memory, 0, count, -1):
            self._held = self._held[:count]
            return count
        self._api.llama_memory_clear(memory, True)
        self._held = []
        return 0

    def close(self) -> None:
        """Free context and model."""
        with self._log:
            if self._context:
                self._api.llama_batch_free(self._batch)
                self._api.llama_free(self._context)
            if self._model:
                self._api.llama_model_free(self._model)
        self._context = self._model = None

    def __del__(self) -> None:
        if getattr(self, "_model", None):
            self.close()

    def _open(self) -> Any:
        if not self._context:
            raise LocalqError("This engine is closed.", "Load the model again.")
        return self._context


class _Log:
    """Keeps llama.cpp's talk off stderr and remembers its last error line."""

    def __init__(self, api: ModuleType) -> None:
        self.last = "it gave no reason"
        self._api = api
        self._callback = api.llama_log_callback(self._hear)

    def _hear(self, level: int, text: bytes, _: Any) -> None:
        line = (text or b"").decode("utf-8", "replace").strip().rstrip(".")
        if level == _ERROR and line:
            self.last = line

    def __enter__(self) -> None:
        self._api.llama_log_set(self._callback, ctypes.c_void_p(0))

    def __exit__(self, *exc: object) -> None:
        from llama_cpp._logger import llama_log_callback

        self._api.llama_log_set(llama_log_callback, ctypes.c_void_p(0))


def _library() -> ModuleType:
    try:
        import llama_cpp.llama_cpp as api
    except (ImportError, OSError, RuntimeError) as error:
        raise UnsupportedError(
            f"The llama engine needs llama-cpp-python, which is not there: {error}.",
            "Install it: pip install 'localq[llama]'.",
        ) from error
    module: ModuleType = api
    return module


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
