"""Architectures that localq does not run, and files that ask for more than it computes: a sentence says what lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import localq
from localq.checkpoints.architectures import supported
from localq.checkpoints.architectures._absent import _WHY, absent
from localq.checkpoints.detect import open_checkpoint
from localq.checkpoints.gguf import GGUFCheckpoint
from localq.engines import llama as llama_engine
from localq.engines import pick
from localq.engines.pick import open_engine, pick_engine
from localq.errors import CheckpointError, UnsupportedError
from localq.models.architecture import build, find_classes
from localq.models.loader import load_model
from tests.factories import every, experts, ggml, more, newest, rwkv, vision
from tests.factories.mla import CASES as LATENT
from tests.oracles.golden import IDS

CASES = {**newest.CASES, **experts.CASES, **rwkv.CASES, **vision.CASES, **LATENT}


def test_every_architecture_of_gguf_py_runs_or_is_explained() -> None:
    names = {name for name in gguf.MODEL_ARCH_NAMES.values() if name != "mmproj"}
    assert names - set(supported()) - set(_WHY) == set()
    assert not set(supported()) & set(_WHY), "runs, and is said not to"


def test_the_explained_are_llama_cpp_s() -> None:
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    library = next((Path(llama_cpp.__file__).parent / "lib").glob("libllama.so"), None)
    if library is None:
        pytest.skip("llama.cpp's library has another name here")
    text = library.read_bytes()
    assert [name for name in (*_WHY, *supported()) if name.encode() + b"\0" not in text] == []


def written(path: Path, architecture: str) -> Path:
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_tensor("token_embd.weight", np.ones((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("architecture", ["falcon", "deepseek4", "minimax-01", "llada", "t5"])
def test_one_sentence_and_the_other_engine(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_checkpoint(written(tmp_path / "m.gguf", architecture)) as checkpoint:
        reason = checkpoint.unsupported or ""
        sentence, hint = absent(architecture) or ("", "")
        assert reason == f"{sentence} {hint}" and f"'{architecture}'" in sentence and "mlx-lm" in sentence
        with pytest.raises(UnsupportedError) as refused:
            open_engine(checkpoint, "mlx")
        assert str(refused.value).count("--engine llama") == 1
        monkeypatch.setattr(llama_engine, "installed", lambda: True)
        monkeypatch.setattr(pick.registry, "device", lambda: "metal")
        name, why = pick_engine(checkpoint)
        assert name == "llama" and "mlx-lm" in why


@pytest.mark.parametrize("architecture", ["bert", "dflash", "clip", "qwen3tts"])
def test_what_writes_no_text(architecture: str) -> None:
    sentence, hint = absent(architecture) or ("", "")
    assert architecture in sentence and "llama" not in hint


_ATTN = {"rope.scaling.attn_factor": (1 + np.log(16) / np.log(4096)) ** 0.5}
# what -> case, keys changed, words
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "phimoe's scale": ("phimoe_long", {"context_length": 65536, **_ATTN}, "4096 positions to 65536"),
    "plamo3's rope": ("plamo3", {"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}, "factor 2.0"),
    "plamo's rope": ("plamo", {"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0}, "plamo.rope.scaling.type"),
    "glimmer's cap": (
        "muse_glimmer",
        {"final_logit_softcapping": None},
        "muse-glimmer file's muse-glimmer.logit_scale",
    ),
    "glimmer's window": ("muse_glimmer", {"rope.freq_base_swa": 5.0}, "rope.freq_base_swa = 5.0"),
    "ling's clamps": ("bailingmoe3", {"swiglu_clamp_exp": [0.0, 7.0, 7.0, 7.0, 7.0]}, "swiglu_clamp_exp"),
    "ling's sections": ("bailingmoe3", {"rope.dimension_sections": [8, 4, 4, 0]}, "rope.dimension_sections"),
    "glm's router": ("glm_moe_dsa", {"expert_gating_func": 1}, "expert_gating_func = 1"),
    "deepseek's router": ("deepseek_v32", {"expert_gating_func": 1}, "expert_gating_func = 1"),
    "qwen's sections": ("qwen3vl", {"rope.dimension_sections": [8, 4, 4, 0]}, "rope.dimension_sections"),
    "laguna's router": ("laguna", {"expert_gating_func": 1}, "expert_gating_func = 1"),
    "mistral4's router": ("mistral4", {"expert_gating_func": 2}, "expert_gating_func = 2"),
    "rwkv's shift": ("rwkv7", {"token_shift_count": 3}, "token_shift_count = 3"),
    "minimax's router": ("minimax_m3", {"expert_weights_norm": False}, "expert_weights_norm = False"),
    "unknown": ("olmo", {"attention.sliding_window": 64}, "olmo.attention.sliding_window = 64"),
}


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, np.floating) else value


@pytest.mark.skipif(not ggml.available(), reason="needs llama-cpp-python's libggml")
@pytest.mark.parametrize("what", REFUSED)
def test_keys_that_ask_for_more(what: str, tmp_path: Path) -> None:
    name, changes, words = REFUSED[what]
    case = CASES[name]
    model = more.make(name, case)
    asked = case._replace(keys=lambda c: {**case.keys(c), **{k: _plain(v) for k, v in changes.items()}})
    found = GGUFCheckpoint(more.write(model, asked, tmp_path / "m.gguf"))
    assert words in str(found.unsupported)


@pytest.mark.skipif(not ggml.available(), reason="needs llama-cpp-python's libggml")
@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("laguna", "blk.1.attn_gate.weight", "rows for"),
        ("muse_glimmer", "blk.1.attn_q_norm.weight", "not one scale"),
        ("rwkv7", "blk.1.time_mix_lerp_fused.weight", "expected 6 rows"),
    ],
)
def test_tensors_of_another_shape(name: str, tensor: str, words: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = more.make(name, case)
    weights = more.tensors(model, case)
    weights[tensor] = weights[tensor][:5] if weights[tensor].ndim > 1 else weights[tensor] * np.float32(3)
    stored = {n: ("f32", w.shape, ggml.quantize(w, "f32")) for n, w in weights.items()}
    path = more.save(model, case, tmp_path / "m.gguf", stored)
    try:
        reason = GGUFCheckpoint(path).unsupported or ""
    except CheckpointError as error:
        reason = str(error)
    assert words in reason


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "prism_hadamard_qwen35"}, "rotate the activations"),
        ({"model_type": "phi3small"}, "block-sparse"),
        ({"model_type": "muse_spark"}, "needs an Apple GPU"),
    ],
)
def test_modules_of_mlx_lm_that_do_not_run_here(
    config: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localq.models.architecture.registry.device", lambda: "cpu")
    with pytest.raises(UnsupportedError, match=words):
        find_classes(config)


def test_lightning_attention_in_a_folder() -> None:
    with pytest.raises(UnsupportedError, match="lightning attention"):
        build({**every.config("minimax"), "linear_attn_alpha_factor": 1})


@pytest.mark.skipif(not ggml.available(), reason="needs llama-cpp-python's libggml")
def test_granite_s_shared_experts_under_their_own_name(tmp_path: Path) -> None:
    """`granitemoeshared` is the hybrid without state-space layers."""
    case = CASES["granitemoe_shared"]
    model = more.make("granitemoe_shared", case)
    with localq.load(str(more.write(model, case, tmp_path / "m.gguf")), engine="mlx", context=64) as right:
        logits = right.logits(IDS)
    kept = {k: v for k, v in model.config.items() if k not in ("layer_types", "position_embedding_type")}
    model.config.clear()
    model.config.update({**kept, "model_type": "granitemoeshared"})
    with localq.load(str(more.write_folder(model, tmp_path / "hf")), engine="mlx", context=64) as found:
        assert np.abs(found.logits(IDS) - logits).max() < 1e-4 * np.ptp(logits)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("olmo", {"d_model": 256}, "ai2-olmo"),
        ("plamo3", {"rope_scaling_factor": 4}, "computes none"),
        ("bailingmoe3", {"expert_swiglu_limit_list": [None, None, 7.0, 7.0, 7.0]}, "clamps"),
    ],
)
def test_folders_that_ask_for_more(name: str, changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    model = more.make(name, CASES[name], **changes)
    with open_checkpoint(more.write_folder(model, tmp_path / "m")) as checkpoint:
        with pytest.raises((UnsupportedError, CheckpointError), match=words):
            load_model(checkpoint)
