"""What a model needs to run: weights from its headers, caches from its config, the rest from measured constants.

Every term comes with the arithmetic it was made by, so that a reader can check it. Weights are exact; caches are what
mlx-lm allocates (caches.py); activations and the engine are estimates calibrated by `benchmarks/fit.py`, whose runs
are kept in `CALIBRATION` and shown.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from localq.checkpoints.base import Checkpoint
from localq.fit.caches import KVDtype, LayerCache, allocated, bytes_per_token, kv_dtype
from localq.fit.plans import Config, heads, plan, size, text_part

CALIBRATION = (
    "Linux x86-64, 2 cores, mlx 0.32.4 (CPU), 2026-11-23: process with engine 84 MB; 0.7 KB per vocabulary entry; "
    "peak of small models within 10 % of the sum (benchmarks/fit.py). Metal and CUDA: not measured, 600 MB assumed"
)
_ENGINE = {"cpu": 84 << 20, "metal": 600 << 20, "cuda": 600 << 20}  # Python, MLX, its buffers
_PER_TOKEN = 700  # bytes of tokenizer per vocabulary entry: 0.5 to 0.8 KB for nine real vocabularies
_UNPACKED = 8 << 20  # one block of decoded rows at most (kernels/reference.py)
_SCORES = 6  # bytes per attention score: float32 and, most of the time, half of its softmax
_CHUNK = {"cpu": 512, "metal": 2048, "cuda": 2048}  # prompt tokens computed at once

# Bytes an MLX mode takes for what ggml stores in fewer: float16 scale and bias per group of 32 (kernels/native.py).
GPU_GROWTH = {"q4_0": 5 / 4.5, "q5_0": 6 / 5.5, "q8_0": 9 / 8.5}


class Term(NamedTuple):
    """One addend: its name, bytes, and how they were counted."""

    name: str
    nbytes: int
    arithmetic: str


class Need(NamedTuple):
    """What a model takes at a context.

    Attributes:
        terms: weights, KV cache, activations, engine.
        context: tokens there is room for.
        kv: how keys and values are stored.
        kv_per_token: bytes one more token takes, 0 where every layer keeps a state of fixed size.
        chunk: prompt tokens computed at once.
    """

    terms: tuple[Term, ...]
    context: int
    kv: KVDtype
    kv_per_token: int
    chunk: int

    @property
    def total(self) -> int:
        """Bytes of all terms."""
        return sum(term.nbytes for term in self.terms)

    def term(self, name: str) -> Term:
        """The addend of that name."""
        return next(term for term in self.terms if term.name == name)


def need(checkpoint: Checkpoint, context: int, kv: str | None = None, device: str = "cpu") -> Need:
    """What a checkpoint takes to run with `context` tokens.

    Args:
        checkpoint: opened; only headers are read.
        context: tokens of prompt and answer together.
        kv: storage of keys and values; default what localq does: float32 on a CPU, 16 bits on a GPU.
        device: "cpu", "metal" or "cuda".

    Raises:
        UnsupportedError: no config, or an architecture whose caches are not known.
        CheckpointError: a size is missing or no number.
        UsageError: an unknown KV type.
    """
    from localq.errors import UnsupportedError

    if checkpoint.config is None:
        raise UnsupportedError(
            f"'{checkpoint.path}' holds no model config, so its cache cannot be counted.",
            "localq explain shows what it holds.",
        )
    return need_of(checkpoint.config, _weights(checkpoint, device), context, kv, device, _largest_matrix(checkpoint))


def need_of(config: Config, weights: Term, context: int, kv: str | None, device: str, largest: int = 0) -> Need:
    """The same for weights that were counted elsewhere; `largest` is the size of the largest matrix, 0 if unknown.

    Raises:
        UnsupportedError, CheckpointError, UsageError: as `need`.
    """
    text = text_part(config)
    layers = plan(config)
    stored = kv_dtype(kv or ("f32" if device == "cpu" else "f16"))
    chunk = _CHUNK[device]
    words = f"{_layers(layers)} x {context} tokens in steps of 256, {stored.bits:g} bits each"
    entries = size(text, "vocab_size", default=0)
    largest = largest or entries * size(text, "hidden_size", "n_embd", "d_model")
    terms = (
        weights,
        Term("kv cache", allocated(layers, context, stored.bits, chunk), words),
        _activations(text, context, chunk, device, largest),
        Term(
            "engine",
            _ENGINE[device] + _PER_TOKEN * entries,
            f"{_ENGINE[device] >> 20} MB process + {_PER_TOKEN} bytes x {entries} vocabulary entries",
        ),
    )
    return Need(terms, context, stored, bytes_per_token(layers, stored.bits), chunk)


def _weights(checkpoint: Checkpoint, device: str) -> Term:
    """Bytes as stored, vision and audio parts left out as the loader leaves them; on a GPU in the mode that runs."""
    specs = checkpoint.text_specs.values()
    stored, count = sum(spec.nbytes for spec in specs), sum(math.prod(spec.shape) for spec in specs)
    total = sum(spec.nbytes * (GPU_GROWTH.get(spec.format, 1.0) if device != "cpu" else 1.0) for spec in specs)
    grown, idle = round(total) - stored, checkpoint.nbytes - stored
    words = f"{len(specs)} tensors, {8 * stored / max(count, 1):.3f} bits x {count} weights"
    words += f"; {idle} bytes that see or hear are not read" if idle else ""
    return Term("weights", round(total), words + (f" + {grown} bytes for wider scales on the GPU" if grown else ""))


def _layers(layers: list[LayerCache]) -> str:
    """The layers by kind: "24 x (1024 elements)", most frequent first."""
    counts: dict[LayerCache, int] = {}
    for layer in layers:
        counts[layer] = counts.get(layer, 0) + 1
    words = [f"{n} {_kind(layer)}" for layer, n in sorted(counts.items(), key=lambda kv: -kv[1])]
    return "(" + " + ".join(words) + ")"


def _kind(layer: LayerCache) -> str:
    if layer.kind == "state":
        return f"layers of {layer.state + layer.state32} fixed elements"
    if layer.kind == "last":
        return f"layers of {layer.state + layer.state32} elements for each of the last {layer.window} tokens"
    window = f" of the last {layer.window}" if layer.window else ""
    beside = f" and {layer.state + layer.state32} fixed" if layer.state or layer.state32 else ""
    return f"layers of {layer.width} elements a token{window}{beside}"


def _largest_matrix(checkpoint: Checkpoint) -> int:
    """Weights of the largest matrix (of one expert, where they are stacked)."""
    return max(
        (math.prod(spec.shape[-2:]) for spec in checkpoint.text_specs.values() if len(spec.shape) > 1), default=0
    )


def _activations(config: Config, context: int, chunk: int, device: str, largest: int) -> Term:
    """One chunk of the prompt going through a layer, the last token's logits, one block of unpacked rows."""
    tokens = min(context, chunk)
    width = 4 if device == "cpu" else 2
    hidden, inner = size(config, "hidden_size", "n_embd", "d_model"), _inner(config)
    layer = tokens * (6 * hidden + 3 * inner) * width
    queries = size(config, "num_attention_heads", "n_head", default=0) or (heads(config) if "n_head" in config else 0)
    scores = _SCORES * queries * tokens * context if device == "cpu" else 0  # fused away by the GPU kernels
    logits = 8 * size(config, "vocab_size", default=0)
    unpacked = min(_UNPACKED, 4 * largest) if device == "cpu" else 0
    words = f"{tokens} tokens x (6 x {hidden} + 3 x {inner}) x {width} bytes"
    if scores:
        words += f" + attention scores {queries} x {tokens} x {context} x {_SCORES}"
    return Term("activations", layer + scores + logits + unpacked, words + " + logits + unpacked rows")


def _inner(config: Config) -> int:
    """Width of the widest feed-forward a token goes through: a dense one, or its experts together."""
    dense = size(config, "intermediate_size", "n_inner", "ffn_hidden_size", default=0)
    expert = size(config, "moe_intermediate_size", default=0)
    used = size(config, "num_experts_per_tok", "num_experts_per_token", default=0)
    return max(dense, expert * used)
