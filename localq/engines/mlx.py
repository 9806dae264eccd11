"""The MLX engine: packed weights in mlx-lm's architectures, on Metal, CUDA or the CPU."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from localq.checkpoints.base import Checkpoint
from localq.engines.base import Logits, check_ids, read_context, within_context
from localq.engines.room import check_room
from localq.errors import LocalqError
from localq.generate.decode import PromptCache
from localq.generate.samplers import Sampling
from localq.models.fused import fuse
from localq.models.ignored_keys import window
from localq.models.linear import PackedEmbedding, PackedLinear
from localq.models.loader import load_model, refusal
from localq.models.shared import share

_LOGITS_CHUNK = 64 << 20  # bytes of logits computed at once in `logits`


class MLXEngine:
    """A checkpoint loaded for generation. See `Engine`.

    Raises:
        UnsupportedError, CheckpointError: as `load_model`.
        DoesNotFitError: no memory for the weights, or a longer context than the model's.
    """

    name = "mlx"

    def __init__(self, checkpoint: Checkpoint, context: int | None = None) -> None:
        if checkpoint.unsupported:  # before anything a config would have to say
            raise refusal(checkpoint)
        config = text_config(checkpoint.config or {})
        self.context = read_context(context, _trained_context(config), f"'{checkpoint.path}'")
        check_room(checkpoint)
        self._model: Any
        self._model, _ = load_model(checkpoint)
        share(self._model)
        if hasattr(self._model, "fit_context"):  # LongRoPE's factors depend on it
            self._model.fit_context(self.context)
        fuse(self._model)
        self._turns = PromptCache(self._model)
        self.vocabulary = self._width()

    def _width(self) -> int:
        """Logits of one token: rows of the output head, or of the embedding that stands in for it."""
        layers = [module for _, module in self._model.named_modules()]
        heads = [layer.rows.shape[0] for layer in layers if isinstance(layer, PackedLinear) and layer.is_head]
        tables = [layer.table.shape[0] for layer in layers if isinstance(layer, PackedEmbedding)]
        if heads or len(tables) == 1:
            return (heads or tables)[0]
        width: int = self._model(mx.array([[0]])).shape[-1]
        return width

    @property
    def reused(self) -> int:
        """Tokens of the last prompt that were not computed again."""
        return self._turns.reused

    def logits(self, ids: Sequence[int]) -> Logits:
        """Logits `[tokens, vocabulary]`, float32."""
        from mlx_lm.models.cache import make_prompt_cache

        found = check_ids(ids, self.context, self.vocabulary)
        cache = make_prompt_cache(self._open())
        out = np.empty((len(found), self.vocabulary), np.float32)
        step = max(1, min(512, _LOGITS_CHUNK // (4 * self.vocabulary)))
        for start in range(0, len(found), step):
            chunk = mx.array([found[start : start + step]])
            out[start : start + step] = np.asarray(self._open()(chunk, cache=cache)[0].astype(mx.float32))
            mx.eval([c.state for c in cache])
        return out

    def generate(self, ids: Sequence[int], sampling: Sampling) -> Generator[int]:
        """Yield new token ids; the cache of the last answer is used where the new prompt begins the same."""
        self._open()
        found = check_ids(ids, self.context, self.vocabulary, room=1)
        yield from self._turns.generate(found, within_context(sampling, len(found), self.context))

    def close(self) -> None:
        """Let go of the weights and caches."""
        self._model = None
        self._turns = PromptCache(None)
        mx.clear_cache()

    def _open(self) -> Any:
        if self._model is None:
            raise LocalqError("This engine is closed.", "Load the model again.")
        return self._model


def _trained_context(config: dict[str, Any]) -> Any:
    """The context length under the names architectures give it; no more than a sliding window they do not compute."""
    names = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length")
    found = next((config[name] for name in names if config.get(name) is not None), None)
    bound = window(config)
    if bound is None:
        return found
    return min(found, bound) if isinstance(found, int) else bound


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The language part of a config (multimodal models nest it)."""
    nested = config.get("text_config")
    return {**config, **nested} if isinstance(nested, dict) else config
