"""Start commands of other engines."""

from __future__ import annotations

import shlex

import pytest

from localq.errors import UnsupportedError, UsageError
from localq.fit.commands import Job, command, tensor_parallel
from tests.fit.configs import tiny

CONFIG = {**tiny("llama"), "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
JOB = Job("org/name-AWQ", False, "safetensors", ("awq",), CONFIG, 32768, None, 1, 6 << 30, 24 << 30)
GGUF = JOB._replace(model="/models/a b.gguf", local=True, container="gguf", formats=("q4_k",))


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_context_kv_type_and_gpus_move_the_command(engine: str) -> None:
    plain = shlex.split(command(engine, JOB))
    assert "32768" in plain and "org/name-AWQ" in plain
    long = shlex.split(command(engine, JOB._replace(context=65536, kv="fp8", gpus=4)))
    assert "65536" in long and "4" in long
    assert long[long.index("--kv-cache-dtype") + 1].startswith("fp8")


@pytest.mark.parametrize(("gpus", "used"), [(1, 1), (2, 2), (3, 2), (4, 4), (6, 4), (8, 8), (16, 16)])
def test_tensor_parallel_sizes_divide_the_heads(gpus: int, used: int) -> None:
    assert tensor_parallel(CONFIG, gpus) == used


def test_llama_server_gets_the_file_and_both_cache_types() -> None:
    words = shlex.split(command("llama-server", GGUF._replace(kv="q8_0", gpus=2)))
    assert words[words.index("-m") + 1] == "/models/a b.gguf"
    assert words[words.index("-ctk") + 1] == words[words.index("-ctv") + 1] == "q8_0"
    assert words[words.index("-c") + 1] == "32768"


def test_a_gguf_on_the_hub_is_named_by_repository_and_label() -> None:
    job = GGUF._replace(model="org/name-GGUF:Q4_K_M", local=False)
    assert shlex.split(command("llama-server", job))[1:3] == ["-hf", "org/name-GGUF:Q4_K_M"]
    assert command("ollama", job).endswith("ollama run hf.co/org/name-GGUF:Q4_K_M")


@pytest.mark.parametrize(
    ("engine", "job"),
    [
        ("vllm", GGUF),
        ("sglang", JOB._replace(formats=("affine_4bit_g64", "f16"))),
        ("llama-server", JOB),
        ("ollama", JOB),
        ("mlx", GGUF),
        ("mlx", JOB._replace(formats=("exl3",))),
        ("vllm", JOB._replace(formats=("mxfp4",))),  # MLX's layout, not gpt-oss's
        ("vllm", JOB._replace(formats=("f16", "tq4"))),
    ],
)
def test_an_engine_that_cannot_read_the_checkpoint_is_refused(engine: str, job: Job) -> None:
    with pytest.raises(UnsupportedError):
        command(engine, job)


@pytest.mark.parametrize(("engine", "kv"), [("vllm", "q4_0"), ("llama-server", "fp8"), ("mlx", "q8_0")])
def test_a_cache_type_the_engine_does_not_have_is_refused(engine: str, kv: str) -> None:
    job = GGUF if engine == "llama-server" else JOB
    with pytest.raises(UsageError, match="KV"):
        command(engine, job._replace(kv=kv))


def test_unknown_engines_are_listed() -> None:
    with pytest.raises(UsageError, match="llama-server"):
        command("frobserve", JOB)
