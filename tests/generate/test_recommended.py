"""Sampling options that files recommend; llama.cpp says which tokens a GGUF suppresses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UsageError
from localq.generate.recommended import recommended
from localq.generate.samplers import Sampler, Sampling
from tests.factories import build
from tests.factories.metadata import add_metadata


def gguf_with(path: Path, **values: Any) -> Path:
    """A GGUF of a vocabulary and these keys: floats, numbers and lists of numbers."""
    writer = gguf.GGUFWriter(str(path), "llama")
    add_metadata(writer, build("llama"))
    for key, value in values.items():
        kinds: dict[type, Any] = {float: writer.add_float32, int: writer.add_int32, list: writer.add_array}
        kinds[type(value)](key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def llama_suppresses(path: Path) -> list[int]:
    """What llama.cpp reads from the file."""
    import ctypes

    api = pytest.importorskip("llama_cpp")
    params = api.llama_model_default_params()
    params.vocab_only = True
    model = api.llama_model_load_from_file(str(path).encode(), params)
    count = ctypes.c_int32(0)
    try:
        found = api.llama_vocab_get_suppress_tokens(api.llama_model_get_vocab(model), ctypes.byref(count))
        return [found[i] for i in range(count.value)]
    finally:
        api.llama_model_free(model)


def test_a_gguf_recommends(tmp_path: Path) -> None:
    path = gguf_with(
        tmp_path / "tiny.gguf",
        **{"general.sampling.temp": 0.5, "general.sampling.top_k": 20, "tokenizer.ggml.suppress_tokens": [3, 7]},
    )
    with open_checkpoint(path) as ckpt:
        found = recommended(ckpt)
    assert found == {"temperature": 0.5, "top_k": 20, "suppress_tokens": [3, 7]}
    assert llama_suppresses(path) == [3, 7]


def test_a_folder_recommends(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, {"top_k": -1, "suppress_tokens": [5], "num_beams": 4, "min_p": None})
    with open_checkpoint(folder) as ckpt:
        assert recommended(ckpt) == {"top_k": 0, "suppress_tokens": [5]}


@pytest.mark.parametrize("wrong", [{"suppress_tokens": "5"}, {"suppress_tokens": [-1]}, {"temperature": "hot"}])
def test_wrong_recommendations_are_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with open_checkpoint(folder_with(tmp_path, wrong)) as ckpt, pytest.raises(CheckpointError, match=next(iter(wrong))):
        recommended(ckpt)


def folder_with(folder: Path, generation: dict[str, Any]) -> Path:
    from safetensors.numpy import save_file

    save_file({"model.norm.weight": np.ones(4, np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "generation_config.json").write_text(json.dumps(generation))
    return folder


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 50.0}, {"temperature": 50.0, "top_k": 4}])
def test_suppressed_tokens_are_never_chosen(options: dict[str, Any]) -> None:
    logits = mx.array([[9.0, 1.0, 8.0, 2.0, 0.5, 0.0]])
    sampler = Sampler(Sampling(seed=1, suppress_tokens=(0, 2, 5, 99), **options))
    assert {int(np.asarray(sampler(logits))[0]) for _ in range(100)} <= {1, 3, 4}


@pytest.mark.parametrize("never", ["12", 3, [1.5], [True], [-1], [1 << 32]])
def test_what_is_no_list_of_ids_is_refused(never: Any) -> None:
    with pytest.raises(UsageError, match="suppress_tokens"):
        Sampling(suppress_tokens=never)
