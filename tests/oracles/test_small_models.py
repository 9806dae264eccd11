"""Real trained models from LOCALQ_TEST_DATA: the same story from every container, and llama.cpp's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import localq
from tests.factories import ggml, write_gguf
from tests.factories.real import read_hf
from tests.oracles import first_engine, second_engine

# llama.cpp's own noise on these files (noise.py): mean difference at most 3.0e-3 of the range measured (TQ1_0),
# perplexity at most 1.9 % off (IQ1_M, of 6.0). Twice that.
NOISE, PERPLEXITY = 6e-3, 0.04

needs_llama = pytest.mark.skipif(not ggml.available(), reason="llama-cpp-python (extra `llama`) is the second engine")
STORIES = ("stories260K/stories260K.gguf", "stories260K-hf", "stories260K-rot256-hf")
PROMPT = "Once upon a time"
PACKED = (
    "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K_M Q4_K_M Q5_K_M Q6_K IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ4_NL "
    "IQ4_XS TQ1_0 TQ2_0 MXFP4_MOE Q1_0 Q2_0"
).split()


@pytest.mark.parametrize("name", STORIES)
def test_the_story_of_llama2_c(data_dir: Path, name: str) -> None:
    """golden.txt is llama2.c's own greedy text from an empty prompt."""
    golden = (data_dir / "models/stories260K/golden.txt").read_text()
    with localq.load(str(data_dir / "models" / name), engine="mlx") as model:
        text = model.generate("", raw=True, temperature=0.0, max_tokens=200)
    assert len(text) > 400
    assert golden.strip().startswith(text.strip()) or text.strip().startswith(golden.strip())


@pytest.fixture(scope="module")
def tinychat_bf16(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = read_hf(data_dir / "models/tinychat")
    return write_gguf(model, tmp_path_factory.mktemp("tinychat") / "tinychat-BF16.gguf", "bf16")


@needs_llama
@pytest.mark.parametrize("prompt", [PROMPT, "The sun was"])
def test_token_for_token_with_llama_cpp_on_the_16_bit_file(data_dir: Path, tinychat_bf16: Path, prompt: str) -> None:
    folder = data_dir / "models/tinychat"
    with localq.load(str(folder), engine="mlx") as model:
        ids = model.tokenizer.encode(prompt)
    story = second_engine.greedy(tinychat_bf16, ids, 100)
    assert first_engine.greedy(folder, ids, 100) == story
    assert first_engine.greedy(tinychat_bf16, ids, 100) == story


@needs_llama
def test_the_same_text_from_both_containers(data_dir: Path, tinychat_bf16: Path) -> None:
    """Tokenizer, template and detokeniser as well: one conversation, two containers."""
    answers = []
    for path in (data_dir / "models/tinychat", tinychat_bf16):
        with localq.load(str(path), engine="mlx") as model:
            answers.append(model.generate(PROMPT, raw=True, temperature=0.0, max_tokens=60))
    assert answers[0] == answers[1]
    assert answers[0].startswith(", there was a little girl named Lily.")


def _perplexity(logits: NDArray[np.float32], ids: Sequence[int]) -> float:
    rows = logits[:-1].astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    chosen = rows[np.arange(len(rows)), list(ids[1:])] - np.log(np.exp(rows).sum(axis=1))
    return math.exp(-chosen.mean())


@needs_llama
@pytest.mark.parametrize("kind", PACKED)
def test_packed_file_against_llama_cpp(data_dir: Path, kind: str) -> None:
    """Mean logit error within what int8 activations cause (noise.py), and the perplexity of a training story."""
    path = data_dir / f"models/tinychat-gguf/tinychat-{kind}.gguf"
    with localq.load(str(path), engine="mlx") as model:
        ids = model.tokenizer.encode(_story(data_dir))[:96]
        found = model.logits(ids)
    right = second_engine.logits(path, ids, n_ctx=128)
    difference = np.abs(found - right) / (right.max() - right.min())
    assert difference.mean() < NOISE
    assert _perplexity(found, ids) == pytest.approx(_perplexity(right, ids), rel=PERPLEXITY)


def _story(data_dir: Path) -> str:
    text = (data_dir / "text/tinystories_val_sample.txt").read_text()
    start = text.index(PROMPT, 10_000)
    return text[start : start + 2000]
