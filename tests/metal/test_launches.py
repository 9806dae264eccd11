"""How many launches a layer costs for one token, read off the graph: of mlx-lm's own model and of localq's.

Figures are those of MLX's graph, not measured on a device. mlx-lm quantises the same shapes to 4 bits with its own
mode; localq runs them packed as q4_k with its own kernels, its layers fused.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.models.cache import make_prompt_cache

from localq.checkpoints import open_checkpoint
from localq.kernels import own, registry
from localq.models.fused import fuse
from localq.models.loader import load_model
from localq.models.shared import share
from tests.factories import build, ggml, write_gguf
from tests.metal.harness import REAL, Harness
from tests.metal.launches import per_layer

MODELS = {
    "llama": 17,
    "qwen2": 20,
    "qwen3": 19,
    "qwen3_moe": 30,
    "gemma3": 37,
}  # -> launches of a layer with mlx-lm 0.32.2
# localq's. Of Gemma's, two are concatenations that most steps do without: the cache of a window grows by 256 tokens.
OURS = {"llama": 6, "qwen2": 7, "qwen3": 7, "qwen3_moe": 10, "gemma3": 12}
REST = {
    "llama": 2,
    "qwen2": 2,
    "qwen3": 2,
    "qwen3_moe": 4,
    "gemma3": 5,
}  # of these MLX's: caches, attention; a mixture's norm, router
LAYERS = {"gemma3": 6}  # its masks are made for whole patterns of layers


def stepper(model: Any) -> Callable[[mx.array], mx.array]:
    """One decode step after a prompt of three tokens."""
    cache = make_prompt_cache(model)
    model(mx.array([[1, 2, 3]]), cache=cache)
    mx.eval([c.state for c in cache])
    return lambda ids: model(ids, cache=cache)


def plain(arch: str) -> Callable[[int], Callable[[mx.array], mx.array]]:
    """mlx-lm's model of that many layers, quantised by MLX."""

    def make(layers: int) -> Callable[[mx.array], mx.array]:
        config = build(arch, num_hidden_layers=layers).config
        module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
        model = module.Model(module.ModelArgs.from_dict(config))
        nn.quantize(
            model, 32, 4, class_predicate=lambda _, m: hasattr(m, "to_quantized") and m.weight.shape[-1] % 32 == 0
        )
        model.eval()
        mx.eval(model.parameters())
        return stepper(model)

    return make


@pytest.fixture
def packed(harness: Harness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Any]:
    """localq's model of the same shapes in q4_k; loaded on the executor, exported with MLX's own factory."""

    def of(arch: str) -> Callable[[int], Callable[[mx.array], mx.array]]:
        def make(layers: int) -> Callable[[mx.array], mx.array]:
            path = write_gguf(build(arch, num_hidden_layers=layers), tmp_path / f"{arch}{layers}.gguf", "q4_k")
            made = harness.factory()
            monkeypatch.setattr(own, "factory", lambda: made)
            with open_checkpoint(path) as checkpoint:
                model = load_model(checkpoint)[0]
            share(model)
            fuse(model)
            step = stepper(model)
            monkeypatch.setattr(own, "factory", lambda: REAL)
            return step

        return make

    monkeypatch.delenv("LOCALQ_KERNELS", raising=False)
    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(registry, "activation_dtype", lambda stored: mx.float32)
    monkeypatch.setattr(registry, "_agrees", lambda *what: "")
    return of


@pytest.mark.skipif(not ggml.available(), reason="needs llama-cpp-python (extra `llama`)")
@pytest.mark.parametrize("arch", sorted(MODELS))
def test_launches_of_a_layer(packed: Callable[[str], Any], arch: str) -> None:
    theirs, ours = (per_layer(make(arch), LAYERS.get(arch, 2)) for make in (plain, packed))
    rest = sum(n for name, n in ours.items() if not name.startswith("localq"))
    print(arch, "mlx-lm", theirs.total(), dict(theirs), "localq", ours.total(), dict(ours))
    assert theirs.total() == MODELS[arch], dict(theirs)
    assert (ours.total(), rest) == (OURS[arch], REST[arch]), dict(ours)
