"""Generation on models with states instead of (or beside) keys and values: in chunks, over turns, and from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import localq
from localq.errors import CheckpointError, LocalqError, UnsupportedError
from localq.generate.samplers import Sampling
from tests.factories import experts, ggml, hybrid, mla, more, rwkv, state_space

NAMES = {
    **{"mamba": state_space, "falcon_h1": state_space, "qwen3_5": hybrid, "lfm2": hybrid},
    **{"rwkv7": rwkv, "bailingmoe3": experts, "minimax_m3": experts, "glm52": mla},
}
GREEDY = Sampling(temperature=0.0, max_tokens=6)
PROMPT = [5, 9, 200, 31, 77, 8, 140, 99, 12, 7, 260]

pytestmark = pytest.mark.skipif(not ggml.available(), reason="the factories write GGUF through ggml")


def by_hand(engine: Any, ids: list[int]) -> list[int]:
    """Greedy tokens, each from one pass over everything before it."""
    out: list[int] = []
    for _ in range(GREEDY.max_tokens or 0):
        out.append(int(np.argmax(engine.logits([*ids, *out])[-1])))
    return out


@pytest.mark.parametrize("name", NAMES)
def test_turns(name: str, tmp_path: Path) -> None:
    case = NAMES[name].CASES[name]
    path = more.write(more.make(name, case), case, tmp_path / "f32.gguf")
    with localq.load(str(path), engine="mlx", context=64) as model:
        engine: Any = model.engine
        first = list(engine._turns.generate(PROMPT, GREEDY, prefill_step=4))
        assert first == by_hand(engine, PROMPT)
        longer = [*PROMPT, *first, 3, 4, 5]  # the next turn of the chat
        assert list(engine._turns.generate(longer, GREEDY, prefill_step=4)) == by_hand(engine, longer)
        other = [*PROMPT[:6], 17, 18]  # an earlier message changed: a state cannot be taken back
        assert list(engine._turns.generate(other, GREEDY, prefill_step=4)) == by_hand(engine, other)


def refused(tmp_path: Path, name: str, family: Any, keys: dict[str, Any], without: str = "") -> LocalqError:
    case = family.CASES[name]
    changed = case._replace(keys=lambda c: {**case.keys(c), **keys})
    model = more.make(name, case)
    stored = {
        n: ("f32", w.shape, ggml.quantize(w, "f32")) for n, w in more.tensors(model, case).items() if n != without
    }
    path = more.save(model, changed, tmp_path / "wrong.gguf", stored)
    with pytest.raises(LocalqError) as caught, localq.load(str(path), engine="mlx"):
        pass
    return caught.value


@pytest.mark.parametrize(
    ("name", "keys", "without", "error", "words"),
    [
        ("qwen3_5", {}, "blk.0.ssm_conv1d.weight", CheckpointError, "blk.0.ssm_conv1d.weight"),
        ("qwen3_5", {"ssm.inner_size": 128}, "", CheckpointError, "ssm.inner_size 128"),
        ("qwen3_5", {"full_attention_interval": 2}, "", CheckpointError, "Layer|lacks"),
        ("qwen3_5", {"attention.recurrent_layers": [True, False, False]}, "", UnsupportedError, "recurrent_layers"),
        ("qwen3_5", {"rope.dimension_sections": [9, 9, 9, 0]}, "", UnsupportedError, "dimension_sections"),
        ("qwen3_5", {"ssm.frobnicate": 3}, "", UnsupportedError, "frobnicate"),
        ("lfm2", {"attention.head_count_kv": [0, 2]}, "", CheckpointError, "head_count_kv"),
        ("lfm2", {"attention.sliding_window": 16}, "", UnsupportedError, "sliding_window"),
        ("lfm2", {"attention.head_count_kv": [2, 2, 0]}, "", CheckpointError, "attn_q.weight"),
        ("mamba2", {"ssm.time_step_rank": 7}, "", CheckpointError, "heads"),
        ("mamba2", {"attention.head_count": 4}, "", UnsupportedError, "head_count"),
        ("nemotron_h", {"feed_forward_length": [256, 256, 0, 0]}, "", CheckpointError, "Layer|lacks"),
        ("granitehybrid", {"ssm.group_count": 2}, "", UnsupportedError, "group_count"),
        ("falcon_h1", {}, "output.weight", UnsupportedError, "output.weight"),
    ],
)
def test_missing_and_contradicting(
    name: str, keys: dict[str, Any], without: str, error: type[Exception], words: str, tmp_path: Path
) -> None:
    family = hybrid if name in hybrid.CASES else state_space
    caught = refused(tmp_path, name, family, keys, without)
    assert isinstance(caught, error)
    assert any(word in str(caught) for word in words.split("|")), str(caught)
