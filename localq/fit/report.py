"""Does a checkpoint fit a machine at a context, how fast would it be, and what would make it fit."""

from __future__ import annotations

from typing import Any, NamedTuple

from localq.checkpoints.base import Checkpoint
from localq.fit.caches import allocated
from localq.fit.machines import Target
from localq.fit.memory import CALIBRATION, Need, need
from localq.fit.plans import head_dim, heads, plan, size, text_part
from localq.fit.speed import Speed, Work, expect
from localq.inspect.truth import per_token, trained_context

DEFAULT_CONTEXT = 8192


class Fit(NamedTuple):
    """A checkpoint on a machine.

    Attributes:
        need: what it takes at the context asked for.
        target: the machine.
        speed: what to expect.
        trained: the longest context the model was made for, None where it does not say.
        largest: the longest context that fits the machine (at most `trained`), 0 if not even one token does.
    """

    need: Need
    target: Target
    speed: Speed
    trained: int | None
    largest: int

    @property
    def fits(self) -> bool:
        return self.need.total <= self.target.limit

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; bytes, tokens, tokens per second."""
        return {
            "fits": self.fits,
            "machine": self.target.name,
            "limit": self.target.limit,
            "total": self.need.total,
            "terms": {term.name: {"bytes": term.nbytes, "arithmetic": term.arithmetic} for term in self.need.terms},
            "context": self.need.context,
            "trained_context": self.trained,
            "largest_context": self.largest,
            "kv_dtype": self.need.kv.name,
            "kv_bytes_per_token": self.need.kv_per_token,
            "decode_tokens_per_second": self.speed.decode and round(self.speed.decode, 1),
            "prefill_tokens_per_second": self.speed.prefill and round(self.speed.prefill),
            "speed_assumption": self.speed.words,
            "calibration": CALIBRATION,
            "note": self.target.note,
        }


def fit(checkpoint: Checkpoint, target: Target, context: int | None = None, kv: str | None = None) -> Fit:
    """Hold a checkpoint against a machine.

    Args:
        checkpoint: opened; only headers are read.
        target: where it would run.
        context: tokens; default 8192, or what the model was made for where that is less.
        kv: storage of keys and values.

    Raises:
        UnsupportedError, CheckpointError, UsageError: as `need`.
    """
    trained = trained_context(checkpoint)
    wanted = context or min(DEFAULT_CONTEXT, trained or DEFAULT_CONTEXT)
    found = need(checkpoint, wanted, kv, target.device)
    speed = expect(target, _work(checkpoint, found))
    return Fit(found, target, speed, trained, _largest(checkpoint, target, kv, trained))


def _largest(checkpoint: Checkpoint, target: Target, kv: str | None, trained: int | None) -> int:
    """Bisection over the context: every term grows with it."""
    low, high = 0, trained or 1 << 20
    while low < high:
        middle = (low + high + 1) // 2
        if need(checkpoint, middle, kv, target.device).total <= target.limit:
            low = middle
        else:
            high = middle - 1
    return low


def _work(checkpoint: Checkpoint, found: Need) -> Work:
    config = text_part(checkpoint.config or {})
    weights, active = per_token(checkpoint)
    layers = plan(checkpoint.config or {})
    cache = allocated(layers, found.context, found.kv.bits, found.chunk)
    queries = size(config, "num_attention_heads", "n_head", "n_heads", default=0)
    attending = sum(layer.kind not in ("state", "last") for layer in layers)
    width = head_dim(config) if queries and heads(config) else 0
    return Work(weights, cache, len(layers), active, 2 * attending * queries * width, found.context)
