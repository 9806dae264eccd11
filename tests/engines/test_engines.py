"""Two engines, one protocol: the same file gives the same logits and tokens, and the same refusals."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.engines import llama as llama_engine
from localq.engines import pick, room
from localq.engines.base import check_ids, read_context
from localq.engines.llama import LlamaEngine
from localq.engines.mlx import MLXEngine
from localq.engines.pick import open_engine, pick_engine
from localq.errors import DoesNotFitError, LocalqError, UnsupportedError, UsageError
from localq.generate.samplers import Sampling
from tests.factories.files import write_gguf, write_hf
from tests.factories.mlx_folder import MlxQuant, write_mlx
from tests.factories.tiny import build
from tests.models.folders import edit_config

IDS = [1, 5, 9, 33, 77, 101, 7, 200, 11, 14]
GREEDY = Sampling(temperature=0, max_tokens=12)
HALF_CACHE = 2e-3  # of the logit range: llama.cpp's default KV cache is float16


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    return write_gguf(build("llama"), tmp_path_factory.mktemp("gguf") / "tiny.gguf", "f32")


@pytest.fixture(params=["mlx", "llama"])
def engine(request, gguf):
    if request.param == "llama":
        pytest.importorskip("llama_cpp", reason="llama-cpp-python (extra `llama`) is the second engine")
    with open_checkpoint(gguf) as checkpoint:
        engine = open_engine(checkpoint, request.param)
    yield engine
    engine.close()


def test_both_engines_agree_on_logits_and_greedy_tokens(gguf):
    pytest.importorskip("llama_cpp", reason="llama-cpp-python (extra `llama`) is the second engine")
    with open_checkpoint(gguf) as checkpoint:
        ours, theirs = MLXEngine(checkpoint), LlamaEngine(checkpoint)
    assert (ours.context, ours.vocabulary) == (theirs.context, theirs.vocabulary) == (512, 320)
    a, b = ours.logits(IDS), theirs.logits(IDS)
    assert a.shape == b.shape == (10, 320) and a.dtype == b.dtype == np.float32
    assert np.abs(a - b).max() / np.ptp(a) < HALF_CACHE
    assert list(ours.generate(IDS, GREEDY)) == list(theirs.generate(IDS, GREEDY))
    theirs.close()


def test_logits_of_a_long_text_do_not_depend_on_chunks(engine, monkeypatch):
    from localq.engines import mlx as mlx_engine

    ids = [int(i) for i in np.random.default_rng(0).integers(3, 300, 100)]
    whole = engine.logits(ids)
    monkeypatch.setattr(mlx_engine, "_LOGITS_CHUNK", 7 * 320 * 4)
    monkeypatch.setattr(llama_engine, "BATCH", 7)
    chunked = engine.logits(ids)
    assert np.abs(whole - chunked).max() / np.ptp(whole) < HALF_CACHE


def test_generation_follows_the_logits(engine):
    out = list(engine.generate(IDS, GREEDY))
    logits = engine.logits(IDS + out[:-1])
    assert len(out) == 12
    assert out == [int(i) for i in logits[len(IDS) - 1 :].argmax(axis=-1)]


def test_a_second_turn_computes_only_what_is_new(engine):
    out = list(engine.generate(IDS, GREEDY))
    assert engine.reused == 0
    longer = [*IDS, *out[:4], 40, 41]
    again = list(engine.generate(longer, GREEDY))
    assert engine.reused == len(IDS) + 4
    fresh = engine.logits(longer + again[:-1])[len(longer) - 1 :].argmax(axis=-1)
    assert again == [int(i) for i in fresh]


def test_a_closed_generator_leaves_the_engine_usable(engine):
    whole = list(engine.generate(IDS, GREEDY))
    stream = engine.generate(IDS, GREEDY)
    assert [next(stream), next(stream)] == whole[:2]
    stream.close()
    assert list(engine.generate(IDS, GREEDY)) == whole


def test_generation_ends_with_the_context(engine):
    ids = [5] * 508
    assert len(list(engine.generate(ids, Sampling(temperature=0, max_tokens=100)))) == 4


@pytest.mark.parametrize("use", ["logits", "generate"])
def test_prompts_that_cannot_be_run_are_refused(engine, use):
    def run(ids):
        return engine.logits(ids) if use == "logits" else list(engine.generate(ids, GREEDY))

    with pytest.raises(UsageError, match="no tokens"):
        run([])
    for wrong in (-1, 320, 10**9):
        with pytest.raises(UsageError, match=f"Token id {wrong} is outside the vocabulary of 320"):
            run([1, wrong])
    with pytest.raises(DoesNotFitError, match="513 tokens.*512"):
        run([5] * 513)


def test_a_full_context_has_no_room_for_an_answer(engine):
    with pytest.raises(DoesNotFitError, match="512 tokens and the answer needs at least one more.*512"):
        list(engine.generate([5] * 512, GREEDY))


def test_a_closed_engine_says_so(engine):
    engine.close()
    with pytest.raises(LocalqError, match="closed"):
        engine.logits(IDS)
    with pytest.raises(LocalqError, match="closed"):
        list(engine.generate(IDS, GREEDY))


@pytest.mark.parametrize(
    ("wish", "kind"), [(0, UsageError), (-5, UsageError), ("8k", UsageError), (513, DoesNotFitError)]
)
@pytest.mark.parametrize("name", ["mlx", "llama"])
def test_contexts_that_cannot_be(gguf, name, wish, kind):
    if name == "llama":
        pytest.importorskip("llama_cpp", reason="llama-cpp-python (extra `llama`) is the second engine")
    with open_checkpoint(gguf) as checkpoint, pytest.raises(kind, match=str(wish)):
        open_engine(checkpoint, name, context=wish)


def test_a_shorter_context_is_kept(engine, gguf):
    with open_checkpoint(gguf) as checkpoint:
        short = open_engine(checkpoint, engine.name, context=16)
    assert short.context == 16
    assert len(list(short.generate(IDS, GREEDY))) == 6
    short.close()


def test_a_model_that_does_not_say_its_context_needs_one():
    with pytest.raises(UsageError, match="does not say"):
        read_context(None, None, "'x'")
    assert read_context(64, None, "'x'") == 64


def test_real_quantised_file_tells_the_same_story_on_both_engines(data_dir):
    pytest.importorskip("llama_cpp", reason="llama-cpp-python (extra `llama`) is the second engine")
    path = data_dir / "models" / "tinychat-gguf" / "tinychat-Q8_0.gguf"
    with open_checkpoint(path) as checkpoint:
        ours, theirs = MLXEngine(checkpoint), LlamaEngine(checkpoint)
    ids = [1, 1081, 659, 612]
    a, b = ours.logits(ids), theirs.logits(ids)
    theirs.close()
    assert np.abs(a - b).max() / np.ptp(a) < 2e-2  # llama.cpp rounds activations to int8 for q8_0
    assert [int(i) for i in a.argmax(axis=-1)] == [int(i) for i in b.argmax(axis=-1)]


def test_no_memory_is_said_with_both_numbers(gguf, monkeypatch):
    monkeypatch.setattr(room, "available", lambda: (1 << 20, "available memory"))
    with open_checkpoint(gguf) as checkpoint, pytest.raises(DoesNotFitError, match=r"0\.3 GB to run.*0\.0 GB"):
        open_engine(checkpoint, "mlx")


def test_available_memory_is_a_believable_number():
    there, kind = room.available()
    assert 100 << 20 < there < 1 << 46
    assert "memory" in kind.lower()


class TestPick:
    def test_a_gguf_without_a_gpu_goes_to_llama_where_it_is_installed(self, gguf, monkeypatch):
        with open_checkpoint(gguf) as checkpoint:
            monkeypatch.setattr(llama_engine, "installed", lambda: True)
            monkeypatch.setattr(pick.registry, "device", lambda: "cpu")
            name, reason = pick_engine(checkpoint)
            assert name == "llama" and "CPU" in reason
            monkeypatch.setattr(llama_engine, "installed", lambda: False)
            assert pick_engine(checkpoint).name == "mlx"
            monkeypatch.setattr(llama_engine, "installed", lambda: True)
            monkeypatch.setattr(pick.registry, "device", lambda: "metal")
            assert pick_engine(checkpoint) == ("mlx", "packed weights on metal")

    def test_folders_go_to_mlx(self, tmp_path):
        for folder in (write_hf(build("llama"), tmp_path / "a"), write_mlx(build("llama"), tmp_path / "b", MlxQuant())):
            with open_checkpoint(folder) as checkpoint:
                assert pick_engine(checkpoint).name == "mlx"
                if llama_engine.installed():
                    with pytest.raises(UnsupportedError, match="safetensors.*--engine mlx"):
                        open_engine(checkpoint, "llama")

    def test_an_architecture_nobody_runs_is_named(self, tmp_path):
        folder = write_hf(build("llama"), tmp_path / "a")
        edit_config(folder, model_type="hal9000")
        with open_checkpoint(folder) as checkpoint, pytest.raises(UnsupportedError, match="hal9000"):
            pick_engine(checkpoint)

    def test_what_was_asked_for_is_taken(self, gguf):
        with open_checkpoint(gguf) as checkpoint:
            assert pick_engine(checkpoint, "mlx") == ("mlx", "asked for")
            with pytest.raises(UsageError, match="'vllm'.*auto, mlx, llama"):
                pick_engine(checkpoint, "vllm")

    def test_a_missing_llama_cpp_names_the_command(self, gguf, monkeypatch):
        for name in [n for n in sys.modules if n.partition(".")[0] == "llama_cpp"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "llama_cpp", None)
        with (
            open_checkpoint(gguf) as checkpoint,
            pytest.raises(UnsupportedError, match=r"pip install 'localq\[llama\]'"),
        ):
            open_engine(checkpoint, "llama")


def test_check_ids_takes_numpy_integers():
    assert check_ids(np.array([1, 2], np.int32), 4, 8) == [1, 2]
