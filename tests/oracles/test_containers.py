"""One model in two containers: the same logits, and transformers' (golden.npz).

Architectures that llama-cpp-python 0.3.36 cannot run here: none; so transformers is a third opinion on all of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.factories import ARCHS, build, ggml, write_gguf, write_hf
from tests.oracles import first_engine, second_engine
from tests.oracles.golden import IDS, KEPT, golden

# Float rounding only: 2e-6 is usual. gemma: transformers and MLX compute GELU, ggml looks it up in a float16 table.
TRANSFORMERS = 2e-3
CONTAINERS = 1e-4


def share(found: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Largest difference as a share of the range of the right logits."""
    assert found.shape == right.shape
    return float(np.abs(found - right).max() / (right.max() - right.min()))


@pytest.mark.skipif(not ggml.available(), reason="needs llama-cpp-python (extra `llama`)")
@pytest.mark.parametrize("arch", ARCHS)
def test_the_factory_agrees_with_both_oracles(arch: str, tmp_path: Path) -> None:
    """No localq here: the GGUF layout is right because llama.cpp gives transformers' logits on it."""
    model = build(arch)
    path = write_gguf(model, tmp_path / "f32.gguf")
    assert share(second_engine.logits(path, IDS)[KEPT], golden(model)) < TRANSFORMERS


@pytest.mark.parametrize("arch", ARCHS)
def test_hugging_face_folder(arch: str, tmp_path: Path) -> None:
    model = build(arch)
    assert share(first_engine.logits(write_hf(model, tmp_path / "hf"), IDS)[KEPT], golden(model)) < TRANSFORMERS


@pytest.mark.parametrize("arch", ARCHS)
def test_both_containers_are_one_model(arch: str, tmp_path: Path) -> None:
    model = build(arch)
    folder = write_hf(model, tmp_path / "hf", shards=3)
    path = write_gguf(model, tmp_path / "f32.gguf")
    assert share(first_engine.logits(folder, IDS), first_engine.logits(path, IDS)) < CONTAINERS
