"""Configs from GGUF keys against the published Hugging Face configs of real models, and what has to be refused."""

from __future__ import annotations

import importlib
import inspect
import math
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localq.checkpoints.architectures import SUPPORTED
from localq.checkpoints.config import config_from_gguf
from localq.checkpoints.gguf import GGUFCheckpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.formats.ggml_types import GGML_BY_NAME
from tests.checkpoints.real_configs import LLAMA3_ROPE, REAL, Real, Stored, f32, gguf_side, llama3_divisors
from tests.factories import ARCHS, build, write_gguf


def converted(real: Real, **changes: Any) -> tuple[str, dict[str, Any]]:
    """The config of a model; `changes` set GGUF keys (`__` for `.`), None removes one."""
    metadata, tensors, values = gguf_side(real)
    for key, value in changes.items():
        name = f"{real.arch}.{key.replace('__', '.')}"
        metadata.pop(name, None) if value is None else metadata.update({name: value})
    return config_from_gguf(metadata, tensors, lambda name: struct.pack(f"<{len(values[name])}f", *values[name]))


def model_args(model_type: str) -> Any:
    return importlib.import_module(f"mlx_lm.models.{model_type}").ModelArgs


@pytest.mark.parametrize("name", REAL)
def test_config_equals_the_published_one(name: str) -> None:
    real = REAL[name]
    model_type, config = converted(real)
    assert model_type == config["model_type"] == real.hf["model_type"]
    for key, value in real.hf.items():
        if key == "rope_scaling" and value:
            assert {k: config[key][k] for k in value} == value
        else:
            assert config[key] == value, key
    assert config["tie_word_embeddings"] is real.hf.get("tie_word_embeddings", False)
    assert ("rope_scaling" in config) is bool(real.hf.get("rope_scaling"))


@pytest.mark.parametrize("name", REAL)
def test_mlx_lm_s_arguments_are_those_of_the_published_config(name: str) -> None:
    """Every field of mlx-lm's ModelArgs, defaults included, is what the Hugging Face config gives it."""
    real = REAL[name]
    args = model_args(real.hf["model_type"])
    # False is Hugging Face's default for the tie, not mlx-lm's
    ours, theirs = args.from_dict(converted(real)[1]), args.from_dict({"tie_word_embeddings": False, **real.hf})
    for field in inspect.signature(args).parameters:
        a, b = getattr(ours, field), getattr(theirs, field)
        if field == "rope_scaling" and b:
            a = {key: a[key] for key in b}
        if field == "head_dim" and b is None:  # mlx-lm derives it
            b = ours.hidden_size // ours.num_attention_heads
        if field == "max_position_embeddings" and b is None:
            b = real.hf[field]
        assert a == b, field


@pytest.mark.parametrize("arch", ARCHS)
def test_tiny_models_round_trip(arch: str, tmp_path: Path) -> None:
    """Through a real file: what gguf-py writes of a config comes back as that config."""
    model = build(arch)
    with GGUFCheckpoint(write_gguf(model, tmp_path / "m.gguf")) as ckpt:
        config = ckpt.config
    for field in inspect.signature(model_args(config["model_type"])).parameters:
        if field == "model_type" or model.config.get(field) is None:
            continue
        if field == "query_pre_attn_scalar":
            assert config[field] == model.head_dim
        elif field == "rope_scaling":
            long = {"long_factor", "short_factor"}
            assert {k: config[field][k] for k in model.config[field] if k not in long} == {
                k: v for k, v in model.config[field].items() if k not in long
            }
            for key in long & set(model.config[field]):
                assert config[field][key] == [f32(v) for v in model.config[field][key]]
        else:
            assert config[field] == model.config[field], field
    assert config["bos_token_id"] == 1 and config["eos_token_id"] == 2


def test_ends_of_sequence_are_collected() -> None:
    metadata, tensors, _ = gguf_side(REAL["Qwen3-0.6B"])
    ids = {"bos": 0xFFFFFFFF, "eos": 151645, "eot": 151645, "eom": 7, "padding": 151643}
    metadata |= {f"tokenizer.ggml.{kind}_token_id": value for kind, value in ids.items()}
    config = config_from_gguf(metadata, tensors, bytes)[1]
    assert config["eos_token_id"] == [151645, 7] and config["pad_token_id"] == 151643 and "bos_token_id" not in config
    for bad in (151936, -5, True, "2"):
        with pytest.raises(CheckpointError, match="eos_token_id"):
            config_from_gguf({**metadata, "tokenizer.ggml.eos_token_id": bad}, tensors, bytes)


REFUSED = {
    "unknown key": ("Qwen3-0.6B", {"attention__gate": "sigmoid"}, "qwen3.attention.gate = 'sigmoid'"),
    "window": ("Mistral-7B-v0.3", {"attention__sliding_window": 4096}, "llama.attention.sliding_window = 4096"),
    "scale": ("Llama-2-7B", {"attention__scale": 0.1}, "llama.attention.scale = 0.1"),
    "cap": ("gemma-3-1b", {"final_logit_softcapping": 30.0}, "gemma3.final_logit_softcapping"),
    "bidirectional": ("Qwen3-0.6B", {"attention__causal": False}, "qwen3.attention.causal = False"),
    "shared expert": ("Qwen3-30B-A3B", {"expert_shared_count": 1}, "qwen3moe.expert_shared_count"),
    "sigmoid router": ("Qwen3-30B-A3B", {"expert_gating_func": 2}, "qwen3moe.expert_gating_func"),
    "rope type": ("Qwen3-0.6B", {"rope__scaling__type": "dynamic", "rope__scaling__factor": 2.0}, "'dynamic'"),
    "rope twice": ("Llama-3.2-1B", {"rope__scaling__factor": 2.0}, "twice"),
    "yarn factor": (
        "Qwen2.5-7B-YaRN",
        {"rope__scaling__yarn_attn_factor": 0.7},
        "rope.scaling.yarn_attn_factor' is 0.7",
    ),
    "longrope factor": ("Phi-4-mini", {"rope__scaling__attn_factor": 1.5}, "attn_factor' is 1.5"),
    "partial rope": ("Llama-2-7B", {"rope__dimension_count": 64}, "rope.dimension_count' is 64"),
    "per-layer heads": ("Llama-2-7B", {"attention__head_count_kv": [8] * 31 + [4]}, "differs from layer to layer"),
    "head width": ("Qwen2.5-7B", {"attention__key_length": 64, "attention__value_length": 64}, "heads are 64 wide"),
    "key and value": ("Qwen3-0.6B", {"attention__value_length": 64}, "needs them equal"),
    "gemma2 pattern": ("gemma-2-2b", {"attention__sliding_window_pattern": 4}, "sliding_window_pattern = 4"),
    "gemma3 pattern": (
        "gemma-3-1b",
        {"attention__sliding_window_pattern": [True, False, False] + [True] * 23},
        "sliding_window_pattern",
    ),
    "gpt-oss local base": ("gpt-oss-20b", {"rope__freq_base_swa": 10000.0}, "rope.freq_base_swa = 10000.0"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_changes_the_computation_is_refused_by_name(what: str) -> None:
    name, changes, message = REFUSED[what]
    with pytest.raises(UnsupportedError) as refusal:
        converted(REAL[name], **changes)
    assert message in str(refusal.value)


LIES = {
    "no positions": ("Qwen3-0.6B", {"context_length": None}, "lacks the key 'qwen3.context_length'"),
    "text for a number": ("Qwen3-0.6B", {"block_count": "28"}, "block_count' is '28'"),
    "negative": ("Qwen3-0.6B", {"attention__head_count": -1}, "head_count' is -1"),
    "no heads": ("Qwen3-0.6B", {"attention__head_count": 0}, "head_count' is 0"),
    "flag for a number": ("Qwen3-0.6B", {"embedding_length": True}, "embedding_length' is True"),
    "not a number": ("Qwen3-0.6B", {"attention__layer_norm_rms_epsilon": math.nan}, "epsilon' is nan"),
    "endless layers": ("Qwen3-0.6B", {"block_count": 2**32 - 1}, "holds 29 tensors"),
    "width": ("Qwen3-0.6B", {"embedding_length": 2048}, "token_embd.weight"),
    "more used than there": ("Mixtral-8x7B", {"expert_used_count": 9}, "8 experts and uses 9"),
    "flags": ("gemma-3-1b", {"attention__sliding_window_pattern": [True] * 3}, "3 values for 26 layers"),
}


@pytest.mark.parametrize("what", LIES)
def test_lying_keys_are_checkpoint_errors(what: str) -> None:
    name, changes, message = LIES[what]
    with pytest.raises(CheckpointError) as refusal:
        converted(REAL[name], **changes)
    assert message in str(refusal.value)


def test_messages_stay_short_whatever_the_file_holds() -> None:
    flood = {"rope__scaling__type": "\x1b[2J" * 100000, **{f"k{i}\x1b": "x" * 10000 for i in range(1000)}}
    with pytest.raises(UnsupportedError) as refusal:
        converted(REAL["Qwen3-0.6B"], **flood)
    assert len(str(refusal.value)) < 1000 and "\x1b" not in str(refusal.value)
    del flood["rope__scaling__type"]
    with pytest.raises(UnsupportedError, match="and 994 more") as refusal:
        converted(REAL["Qwen3-0.6B"], **flood)
    assert len(str(refusal.value)) < 1500 and "\x1b" not in str(refusal.value)


def test_neutral_keys_pass() -> None:
    off = {"expert_count": 0, "attention__causal": True, "logit_scale": 0.0, "rope__scaling__type": "none"}
    assert converted(REAL["Llama-2-7B"], **off) == converted(REAL["Llama-2-7B"])
    again = {"attention__head_count_kv": [32] * 32, "rope__scaling__factor": 1.0, "tensor_data_layout": "Meta AI"}
    assert converted(REAL["Llama-2-7B"], **again) == converted(REAL["Llama-2-7B"])


def test_patterns_given_as_flags_are_the_default_ones() -> None:
    flags = [(i + 1) % 6 != 0 for i in range(26)]
    assert converted(REAL["gemma-3-1b"], attention__sliding_window_pattern=flags) == converted(REAL["gemma-3-1b"])
    everywhere = converted(REAL["gemma-3-1b"], attention__sliding_window=None)[1]
    assert everywhere["sliding_window_pattern"] == 1
    other = [False, True] * 12
    types = converted(REAL["gpt-oss-20b"], attention__sliding_window_pattern=other)[1]["layer_types"]
    assert types == ["full_attention", "sliding_attention"] * 12


@pytest.mark.parametrize("factor", [2.0, 8.0, 16.0, 32.0])
@pytest.mark.parametrize("head_dim", [8, 64, 128])
def test_llama3_scaling_is_recovered(factor: float, head_dim: int) -> None:
    base = REAL["Llama-3.2-1B"].hf
    scaling = {**LLAMA3_ROPE, "factor": factor}
    heads = base["hidden_size"] // head_dim
    changed = {**base, "head_dim": head_dim, "num_attention_heads": heads, "rope_scaling": scaling}
    assert converted(Real("llama", changed))[1]["rope_scaling"] == scaling


@pytest.mark.parametrize("spoil", ["one value", "length", "other parameters", "nonsense"])
def test_divisors_that_are_no_llama3_scaling_are_refused(spoil: str) -> None:
    real = REAL["Llama-3.2-1B"]
    metadata, tensors, values = gguf_side(real)
    divisors = values["rope_freqs.weight"]
    if spoil == "one value":
        divisors[20] *= 1.001
    elif spoil == "length":
        divisors.pop()
        tensors["rope_freqs.weight"] = Stored((31,), GGML_BY_NAME["f32"], 124)
    elif spoil == "other parameters":
        scaling = {**real.hf["rope_scaling"], "high_freq_factor": 8.0}
        divisors[:] = llama3_divisors({**real.hf, "rope_scaling": scaling}, 64)
    else:
        divisors[:] = [math.nan, 0.0, -1.0, math.inf] * 8
    with pytest.raises(UnsupportedError, match="rope_freqs"):
        config_from_gguf(metadata, tensors, lambda name: struct.pack(f"<{len(divisors)}f", *divisors))


def test_rope_tensors_of_another_kind_are_refused() -> None:
    metadata, tensors, _ = gguf_side(REAL["Llama-3.2-1B"])
    for shape, kind in (((32,), "f16"), ((1, 32), "f32"), ((10**9,), "f32")):
        with pytest.raises(CheckpointError, match="rope_freqs"):
            config_from_gguf(metadata, {**tensors, "rope_freqs.weight": Stored(shape, GGML_BY_NAME[kind], 64)}, bytes)
    metadata, tensors, _ = gguf_side(REAL["Phi-4-mini"])
    del tensors["rope_factors_short.weight"]
    with pytest.raises(CheckpointError, match="rope_factors_short"):
        config_from_gguf(metadata, tensors, lambda name: bytes(192))


@pytest.mark.parametrize("architecture", [None, 7, "clip", "gpt_oss", "../llama", "", "_rope"])
def test_other_architectures_are_refused(architecture: Any) -> None:
    with pytest.raises(CheckpointError, match="architecture"):
        config_from_gguf({"general.architecture": architecture}, {}, bytes)


def test_supported_are_those_of_the_issue() -> None:
    assert set(SUPPORTED) >= {"llama", "qwen2", "qwen3", "qwen3moe", "gemma2", "gemma3", "phi3", "gpt-oss"}
    assert SUPPORTED["llama"].with_experts is not None


def test_names_and_config_import_no_numpy(tmp_path: Path) -> None:
    """`localq explain llama3.gguf` passes here: rope factors included, nothing heavy is loaded."""
    path = write_gguf(build("llama3"), tmp_path / "m.gguf")
    code = (
        "import sys\nfrom localq.checkpoints.gguf import GGUFCheckpoint\n"
        f"config = GGUFCheckpoint({str(path)!r}).config\nassert config['rope_scaling']['factor'] == 8.0\n"
        "print(sorted({'numpy', 'gguf', 'mlx', 'dataclasses', 'pathlib', 'importlib.metadata'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
