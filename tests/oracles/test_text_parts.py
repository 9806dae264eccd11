"""localq against transformers where llama.cpp cannot be the oracle (golden_text.py), from both containers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import localq
from tests.factories import more
from tests.oracles import golden_text
from tests.oracles.golden import IDS, KEPT

# GGUF has no key for the size of Llama 4's chunks; it is 8192 there
FOLDERS = [(name, "folder") for name in golden_text.CASES]


@pytest.mark.parametrize(("name", "container"), [*FOLDERS, ("gemma3n", "gguf")])
def test_logits_of_transformers(name: str, container: str, tmp_path: Path) -> None:
    model = golden_text.make(name)
    right = golden_text.golden(name, model)
    case = golden_text.CASES[name]
    if container == "folder":
        path = more.write_folder(model, tmp_path / "hf")
    else:
        path = more.write(model, case, tmp_path / "f32.gguf")
    with localq.load(str(path), engine="mlx", context=64) as ours:
        found = ours.logits(IDS)[KEPT]
    assert np.abs(found - right).max() < 1e-4 * np.ptp(right)
