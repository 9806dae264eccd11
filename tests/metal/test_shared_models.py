"""Whole tiny models whose projections share launches: the logits of the reference, decoded token by token."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache

from localq.checkpoints import open_checkpoint
from localq.kernels import own, registry
from localq.models.loader import load_model
from localq.models.shared import share
from tests.factories import build, ggml, write_gguf
from tests.metal.harness import Harness

IDS = [1, 5, 9, 33, 77, 101]
LAYERS = {"gemma3": 6}  # else one
GROUPS = {"llama": 2, "qwen3": 2, "qwen3_moe": 1, "gemma3": 12}  # q/k/v, and gate/up where there are no experts


def decoded(path: Path, sharing: bool) -> tuple[np.ndarray, int]:
    """Logits of a prompt of three tokens, then one at a time; and how many groups share a launch."""
    with open_checkpoint(path) as checkpoint:
        model = load_model(checkpoint)[0]
    model.eval()
    groups = share(model) if sharing else 0
    cache = make_prompt_cache(model)
    rows = [np.array(model(mx.array([IDS[:3]]), cache=cache)[0])]
    rows += [np.array(model(mx.array([[token]]), cache=cache)[0]) for token in IDS[3:]]
    return np.concatenate(rows), groups


@pytest.mark.parametrize("arch", GROUPS)
def test_logits_of_shared_launches(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arch: str
) -> None:
    if not ggml.available():
        pytest.skip("needs llama-cpp-python (extra `llama`)")
    path = tmp_path / "m.gguf"
    write_gguf(build(arch, num_hidden_layers=LAYERS.get(arch, 1)), path, "q8_0")
    want, _ = decoded(path, sharing=False)
    made = harness.factory()
    monkeypatch.setattr(registry, "_VERDICTS", {})
    monkeypatch.setattr(own, "factory", lambda: made)
    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(registry, "activation_dtype", lambda stored: mx.float32)
    monkeypatch.setattr(registry, "_agrees", lambda *what: "")
    got, groups = decoded(path, sharing=True)
    assert groups == GROUPS[arch]
    assert np.abs(got - want).max() <= 1e-5 * np.ptp(want)
