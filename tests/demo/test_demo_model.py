"""The bundled model, asked through localq itself: 90 % of corpus questions, 60 % of held-back paraphrases.

Held-back questions are of two kinds, drawn here in their true proportion: those made from templates (93 % right when
all are asked) and those written by hand (59 %).
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest

import localq
from localq.paths import demo_dir

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "demo"
sys.path.insert(0, str(TOOLS))

import evaluate  # noqa: E402
from corpus import read_corpus  # noqa: E402

SAMPLE = 24  # questions of each kind; the full run is tools/demo/evaluate.py --engine localq
KINDS = evaluate.questions(read_corpus())
FOLDER = Path(demo_dir())


@pytest.fixture(scope="module")
def ask() -> evaluate.Ask:
    return evaluate.ask_localq("demo", "mlx")


def share(ask: evaluate.Ask, kind: str) -> float:
    return evaluate.share_right(ask, random.Random(7).sample(KINDS[kind], SAMPLE), show=SAMPLE)


@pytest.mark.slow
def test_corpus_questions(ask: evaluate.Ask) -> None:
    assert share(ask, "corpus") >= 0.90


@pytest.mark.slow
def test_held_back_paraphrases(ask: evaluate.Ask) -> None:
    by_hand, templates = KINDS["held back, written by hand"], KINDS["held back, from templates"]
    drawn = random.Random(7).sample(by_hand + templates, SAMPLE)
    assert evaluate.share_right(ask, drawn, show=SAMPLE) >= 0.60


@pytest.mark.slow
def test_held_back_paraphrases_written_by_hand(ask: evaluate.Ask) -> None:
    assert share(ask, "held back, written by hand") >= 0.45


def test_the_readmes_questions(ask: evaluate.Ask) -> None:
    """The four questions the README shows are answered by their facts."""
    meaning, memory, what, mac = ask(
        ["What does Q4_K_M mean?", "Which quant for 16 GB?", "What is an imatrix?", "Does NVFP4 run on a Mac?"]
    )
    assert "recipe" in meaning and "Q6_K" in meaning
    assert "14B" in memory and "Q4_K_M" in memory
    assert "importance matrix" in what
    assert "MLX" in mac and "Blackwell" in mac


def test_a_second_question_in_the_same_chat_is_answered(ask: evaluate.Ask) -> None:
    model = localq.load("demo", engine="mlx")
    first = {"role": "user", "content": "What does AWQ stand for?"}
    answer = {"role": "assistant", "content": model.generate([first], temperature=0.0, max_tokens=96)}
    second = {"role": "user", "content": "How many bits per weight has Q6_K?"}
    assert "6.5625" in model.generate([first, answer, second], temperature=0.0, max_tokens=96)


def test_unrelated_questions_are_refused(ask: evaluate.Ask) -> None:
    for answer in ask(["What is the capital of Sweden?", "How do I bake a cake?"]):
        assert answer.startswith("I only know about quantisation formats")


def test_the_folder_is_small_and_in_hugging_face_layout() -> None:
    names = {p.name for p in FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"} <= names
    assert sum(p.stat().st_size for p in FOLDER.iterdir() if p.is_file()) <= 12_000_000


def test_every_matrix_can_become_a_k_quant() -> None:
    """All rows are multiples of 256 weights, the super-block; stored as bf16; the head is the embedding."""
    with localq.open_checkpoint(str(FOLDER)) as checkpoint:
        matrices = [checkpoint[name] for name in checkpoint if len(checkpoint[name].shape) == 2]
        assert len(matrices) == 1 + 7 * checkpoint.config["num_hidden_layers"]
        assert {t.format.name for t in matrices} == {"bf16"}
        assert [t.shape for t in matrices if t.shape[1] % 256] == []


def test_the_card_names_the_run_of_these_weights() -> None:
    """Seed and steps said in the model card are those written beside the weights by the training script."""
    run = json.loads((FOLDER / "training.json").read_text())
    card = (FOLDER / "README.md").read_text()
    assert run["finished"] is True
    assert str(run["seed"]) in card and f"{run['step']} steps" in card
