"""The architectures beyond the first ones: localq's logits against llama.cpp's, and one model in two containers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

import localq
from localq.checkpoints.detect import open_checkpoint
from tests.factories import (
    classics,
    dense_one,
    dense_three,
    dense_two,
    experts,
    gemmas,
    ggml,
    hybrid,
    kimi,
    linear,
    llamas,
    mla,
    more,
    newest,
    other,
    rwkv,
    state_space,
    vision,
)
from tests.models.folders import plain_logits, stay_packed
from tests.oracles import second_engine
from tests.oracles.golden import IDS

FAMILIES = (
    mla,
    other,
    classics,
    dense_one,
    dense_two,
    dense_three,
    gemmas,
    llamas,
    hybrid,
    linear,
    state_space,
    vision,
    newest,
    rwkv,
    experts,
    kimi,
)
CASES = {name: case for family in FAMILIES for name, case in family.CASES.items()}
CONTAINERS = 1e-4
CHUNKS = 1e-4

pytestmark = pytest.mark.skipif(not ggml.available(), reason="llama-cpp-python (extra `llama`) is the second engine")


def share(found: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Largest difference as a share of the range of the right logits."""
    assert found.shape == right.shape and np.isfinite(found).all()
    return float(np.abs(found - right).max() / (right.max() - right.min()))


def in_pieces(model: Any) -> NDArray[np.float32]:
    """Logits of IDS by prefill in two chunks and then token by token."""
    from mlx_lm.models.cache import make_prompt_cache

    cache = make_prompt_cache(model)
    parts = [IDS[:9], IDS[9:16], *([one] for one in IDS[16:])]
    return np.concatenate([np.array(model(mx.array([part]), cache=cache)[0]) for part in parts])


def oracle(path: Path, model: more.TinyModel, case: more.Case, scratch: Path) -> NDArray[np.float32]:
    """llama.cpp's logits of the file, or plain mlx-lm's of the folder where llama.cpp cannot run it."""
    if case.llama_cpp:
        return second_engine.logits(path, IDS)
    return plain_logits(more.write_folder(model, scratch / "plain"), IDS)


@pytest.mark.parametrize("name", CASES)
def test_logits_of_llama_cpp(name: str, tmp_path: Path) -> None:
    """float32: all at once, in pieces; and types mixed inside a layer against the values ggml decodes."""
    case = CASES[name]
    model = more.make(name, case)
    path = more.write(model, case, tmp_path / "f32.gguf")
    right = oracle(path, model, case, tmp_path)
    assert right.std() > 0.05 * (right.max() - right.min()) > 0
    with localq.load(str(path), engine="mlx", context=64) as ours:
        once = ours.logits(IDS)
        assert share(once, right) < case.bound
        assert share(in_pieces(ours.engine._model), once) < CHUNKS
    packed, floats = more.pair(model, case, tmp_path)
    with localq.load(str(packed), engine="mlx", context=64) as ours:
        if case.llama_cpp:
            right = second_engine.logits(floats, IDS)
        else:
            with localq.load(str(floats), engine="mlx", context=64) as unpacked:
                right = unpacked.logits(IDS)
        assert share(ours.logits(IDS), right) < case.bound
        assert share(in_pieces(ours.engine._model), ours.logits(IDS)) < CHUNKS
        with open_checkpoint(str(packed)) as checkpoint:
            assert stay_packed(ours.engine._model, checkpoint.specs) > 0


@pytest.mark.parametrize("name", CASES)
def test_both_containers_are_one_model(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = more.make(name, case)
    path = more.write(model, case, tmp_path / "f32.gguf")
    folder = more.write_folder(model, tmp_path / "hf")
    with open_checkpoint(str(path)) as gguf, open_checkpoint(str(folder)) as hf:
        assert gguf.unsupported is None, gguf.unsupported
        right = {n: w for name in hf for n, w in case.shown(model.config, name, hf[name].dequantize())}
        assert set(gguf) == set(right)
        for tensor, w in right.items():
            assert gguf[tensor].shape == w.shape, tensor
            assert gguf[tensor].dequantize().tobytes() == w.tobytes(), tensor
    with localq.load(str(path), engine="mlx", context=64) as a, localq.load(str(folder), engine="mlx", context=64) as b:
        assert share(a.logits(IDS), b.logits(IDS)) < CONTAINERS
