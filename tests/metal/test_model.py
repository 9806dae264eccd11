"""Whole tiny models, packed as a Q4_K_M file would be: own kernels on the executor give the reference's logits."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.kernels import own, registry
from localq.models.loader import load_model
from tests.factories import build, ggml, write_gguf
from tests.metal.harness import Harness

TYPES = {"*attn_q.weight": "q5_k", "*attn_v*": "q6_k", "*attn_o*": "iq4_xs", "token_embd*": "q4_k", "output*": "q6_k"}
IDS = [1, 5, 9, 33, 77, 101, 7, 200, 11, 14, 15, 16]
CLOSE = 1e-5  # of the range of the logits: float32 sums in another order


def logits(path: Path) -> dict[str, np.ndarray]:
    """Of a prefill (decoded matrices), of three tokens and of one (packed products)."""
    with open_checkpoint(path) as checkpoint:
        model = load_model(checkpoint)[0]
    return {str(n): np.array(model(mx.array([IDS[:n]]))[0]) for n in (len(IDS), 3, 1)}


@pytest.mark.skipif(not ggml.available(), reason="needs llama-cpp-python (extra `llama`)")
@pytest.mark.parametrize("arch", ["llama", "qwen3_moe", "gemma3"])  # dense, experts, tied head
def test_logits_of_own_kernels(harness: Harness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arch: str) -> None:
    path = write_gguf(build(arch), tmp_path / "m.gguf", {**TYPES, "*": "q4_k"})
    monkeypatch.setattr(registry, "_VERDICTS", {})
    want = logits(path)
    launched: list[str] = []
    real = harness.factory()

    def factory(**made):
        kernel = real(**made)

        def call(**how):
            launched.append(made["name"])
            return kernel(**how)

        return call

    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(registry, "activation_dtype", lambda stored: mx.float32)
    monkeypatch.setattr(own, "factory", lambda: factory)
    got = logits(path)
    assert {name.removeprefix("localq_") for name in launched} >= {
        f"{body}_{stem}" for body in ("dequantize", "qmv") for stem in ("q4_k", "q5_k", "q6_k", "iq4_xs")
    }
    assert any(name.startswith("localq_gather") for name in launched) == (arch == "qwen3_moe")
    for tokens, right in want.items():
        assert np.abs(got[tokens] - right).max() <= CLOSE * np.ptp(right), tokens
