"""Queries, keys and values in one tensor, wherever llama.cpp takes them so (`create_tensor_qkv`, llama-model.cpp)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import localq
from localq.checkpoints.detect import open_checkpoint
from tests.factories import ggml, more
from tests.factories.tiny import Weights
from tests.oracles import second_engine
from tests.oracles.golden import IDS
from tests.oracles.test_more_architectures import CASES, share

pytestmark = pytest.mark.skipif(not ggml.available(), reason="llama-cpp-python (extra `llama`) is the second engine")

# Heads counted by layer, values narrower than keys, layers of other kinds beside attention, gates beside queries
NAMES = ("mimo2", "step35", "laguna", "lfm2", "deci", "jamba", "nemotron_h", "qwen3_next", "qwen3_5", "kimi_linear")


def fused(tensors: Weights) -> Weights:
    """`attn_q`, `attn_k` and `attn_v` of a layer as `attn_qkv`."""
    out = dict(tensors)
    for name in tensors:
        found = re.fullmatch(r"blk\.(\d+)\.attn_q\.(weight|bias)", name)
        parts = [f"blk.{found[1]}.attn_{x}.{found[2]}" for x in "qkv"] if found else []
        if parts and all(part in out for part in parts):
            out[f"blk.{found[1]}.attn_qkv.{found[2]}"] = np.concatenate([out.pop(part) for part in parts])
    return out


@pytest.mark.parametrize("name", [name for name in NAMES if name in CASES])
def test_fused_attention(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = more.make(name, case)
    apart = more.tensors(model, case)
    whole = fused(apart)
    assert len(whole) < len(apart), f"{name} has no queries of its own"
    stored = {n: ("f32", w.shape, ggml.quantize(w, "f32")) for n, w in whole.items()}
    path = more.save(model, case, tmp_path / "fused.gguf", stored)
    with open_checkpoint(more.write(model, case, tmp_path / "apart.gguf")) as right, open_checkpoint(path) as found:
        assert found.unsupported is None, found.unsupported
        assert set(found) == set(right)
        for tensor in right:
            assert found[tensor].dequantize().tobytes() == right[tensor].dequantize().tobytes(), tensor
    with localq.load(str(path), engine="mlx", context=64) as ours:
        assert share(ours.logits(IDS), second_engine.logits(path, IDS)) < case.bound
