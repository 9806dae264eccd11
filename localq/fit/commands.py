"""The command that starts a model in somebody else's engine, for this context, KV type and number of GPUs.

Flags as the engines document them (vLLM 0.1x `vllm serve`, SGLang `launch_server`, llama.cpp `llama-server`, Ollama's
environment variables, mlx-lm's server); nothing here is run. An engine that cannot run the checkpoint is refused.
"""

from __future__ import annotations

import shlex
from typing import NamedTuple

from localq.errors import UnsupportedError, UsageError
from localq.fit.plans import Config, heads, size, text_part

ENGINES = ("vllm", "sglang", "llama-server", "ollama", "mlx", "localq")


class Job(NamedTuple):
    """What is to be started.

    Attributes:
        model: repository on the hub (`org/name`, for a GGUF `org/name:LABEL`), or a folder or file here.
        local: whether `model` is a path.
        container: "gguf" or "safetensors".
        formats: names of the formats the weights are in.
        config: the model's config, for the sizes that parallelism must divide.
        context: tokens.
        kv: "f16", "fp8", "q8_0", "q4_0", ... or None for the engine's own default.
        gpus: how many there are.
        needed: bytes the model takes.
        memory: bytes of one GPU, 0 where unknown.
    """

    model: str
    local: bool
    container: str
    formats: tuple[str, ...]
    config: Config
    context: int
    kv: str | None
    gpus: int
    needed: int
    memory: int


# Families of formats that an engine's documentation says it reads; GGUF and MLX's own are told apart before.
_COMMON = frozenset("float fp8 awq gptq compressed-tensors bitsandbytes modelopt gpt-oss torchao".split())
_READS = {
    "vLLM": _COMMON | {"hqq"},
    "SGLang": _COMMON,
    "mlx-lm": frozenset("float mlx gpt-oss awq gptq compressed-tensors modelopt bitnet fp8".split()),
}


def command(engine: str, job: Job) -> str:
    """One shell command.

    Raises:
        UsageError: an engine nobody named, or a KV type it does not have.
        UnsupportedError: the engine does not read this checkpoint.
    """
    makers = {
        "vllm": _vllm,
        "sglang": _sglang,
        "llama-server": _llama,
        "ollama": _ollama,
        "mlx": _mlx,
        "localq": _localq,
    }
    if engine not in makers:
        raise UsageError(f"There is no engine '{engine}'; localq knows {', '.join(ENGINES)}.")
    return makers[engine](job)


def tensor_parallel(config: Config, gpus: int) -> int:
    """The largest number of GPUs not above `gpus` that divides the attention heads and suits the key/value heads.

    Key/value heads must be divisible by it, or it by them (they are then repeated), as vLLM and SGLang ask.
    """
    text = text_part(config)
    queries, pairs = size(text, "num_attention_heads", "n_head", "n_heads"), heads(text)
    fits = [n for n in range(1, gpus + 1) if queries % n == 0 and (pairs % n == 0 or n % pairs == 0)]
    return max(fits)


def _vllm(job: Job) -> str:
    _need_hub_layout(job, "vLLM")
    words = ["vllm", "serve", job.model, "--max-model-len", str(job.context)]
    words += _kv(job, "vLLM", {"fp8": "fp8", "f16": "auto", "bf16": "auto"}, "--kv-cache-dtype")
    parallel = tensor_parallel(job.config, job.gpus)
    words += ["--tensor-parallel-size", str(parallel)] if parallel > 1 else []
    return shlex.join([*words, "--gpu-memory-utilization", _share(job, parallel)])


def _sglang(job: Job) -> str:
    _need_hub_layout(job, "SGLang")
    words = ["python", "-m", "sglang.launch_server", "--model-path", job.model, "--context-length", str(job.context)]
    words += _kv(job, "SGLang", {"fp8": "fp8_e4m3", "f16": "auto", "bf16": "auto"}, "--kv-cache-dtype")
    parallel = tensor_parallel(job.config, job.gpus)
    words += ["--tp", str(parallel)] if parallel > 1 else []
    return shlex.join([*words, "--mem-fraction-static", _share(job, parallel)])


def _llama(job: Job) -> str:
    _need_gguf(job, "llama-server")
    words = ["llama-server", "-m" if job.local else "-hf", job.model, "-c", str(job.context), "-ngl", "99"]
    if job.kv is not None:
        names = {"f16": "f16", "bf16": "bf16", "f32": "f32", "q8": "q8_0", "q8_0": "q8_0", "q4": "q4_0", "q4_0": "q4_0"}
        (kind,) = _kv(job, "llama-server", {**names, "q5_1": "q5_1"}, "")
        words += ["-ctk", kind, "-ctv", kind, "-fa", "on"]
    words += ["--split-mode", "layer"] if job.gpus > 1 else []
    return shlex.join(words)


def _ollama(job: Job) -> str:
    _need_gguf(job, "Ollama")
    words = [f"OLLAMA_CONTEXT_LENGTH={job.context}"]
    if job.kv is not None:
        names = {"f16": "f16", "q8": "q8_0", "q8_0": "q8_0", "q4": "q4_0", "q4_0": "q4_0"}
        (kind,) = _kv(job, "Ollama", names, "")
        words += ["OLLAMA_FLASH_ATTENTION=1", f"OLLAMA_KV_CACHE_TYPE={kind}"]
    if job.local:
        file = shlex.quote(job.model)
        return f"printf 'FROM %s\\n' {file} > Modelfile && ollama create mymodel && {' '.join(words)} ollama serve"
    return f"{' '.join(words)} ollama serve & ollama run {shlex.quote('hf.co/' + job.model)}"


def _mlx(job: Job) -> str:
    if job.container == "gguf":
        raise UnsupportedError("mlx-lm reads no GGUF.", "localq runs it: --for localq")
    _need_family(job, "mlx-lm")
    if job.kv not in (None, "f16", "bf16"):
        raise UsageError("mlx_lm.server has no option for the KV cache's type.", "Leave out --kv-cache-dtype.")
    return shlex.join(["mlx_lm.server", "--model", job.model, "--port", "8080"])


def _localq(job: Job) -> str:
    words = ["localq", "chat", job.model, "--context", str(job.context)]
    return shlex.join(words + (["--kv-cache-dtype", job.kv] if job.kv else []))


def _kv(job: Job, engine: str, names: dict[str, str], flag: str) -> list[str]:
    if job.kv is None:
        return []
    if job.kv not in names:
        raise UsageError(f"{engine} has no KV cache type '{job.kv}'; it has {', '.join(names)}.")
    return [flag, names[job.kv]] if flag else [names[job.kv]]


def _share(job: Job, gpus: int) -> str:
    """Share of a GPU's memory the engine may take: what the model needs and a tenth more, within 0.5 and 0.95."""
    if not job.memory:
        return "0.90"
    wanted = 1.1 * job.needed / max(gpus, 1) / job.memory
    return f"{min(max(wanted, 0.5), 0.95):.2f}"


def _need_hub_layout(job: Job, engine: str) -> None:
    if job.container == "gguf":
        raise UnsupportedError(
            f"{engine} is made for safetensors; its GGUF support is experimental.",
            "Take an AWQ, GPTQ or FP8 build of the model, or --for llama-server.",
        )
    _need_family(job, engine)


def _need_family(job: Job, engine: str) -> None:
    from localq.formats import find

    for name in sorted(job.formats):
        found = find(name)
        family = found.family if found else name
        if family not in _READS[engine]:
            whose = "MLX's packing" if family == "mlx" else f"{family} weights"
            raise UnsupportedError(f"{engine} does not read {whose} ({name}).", "localq runs it: --for localq")


def _need_gguf(job: Job, engine: str) -> None:
    if job.container != "gguf":
        raise UnsupportedError(f"{engine} reads GGUF; this is {job.container}.", "Take a GGUF of the same model.")
