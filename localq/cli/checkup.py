"""What `doctor` looks at, each look giving one finding: a fact, a note, or a problem with the command that mends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NamedTuple

from localq import paths
from localq.cli.output import size
from localq.errors import LocalqError
from localq.hardware import Machine, backends, machine


class Finding(NamedTuple):
    """`state` is "ok", "note" (works, could be better) or "problem"; `command` mends it."""

    what: str
    state: str
    words: str
    command: str = ""


def all_findings() -> list[Finding]:
    """Look at everything; one look that fails does not stop the others."""
    here = machine(measure=True)
    installed = backends()
    looks: list[Callable[[], list[Finding]]] = [
        _python,
        lambda: [_machine(here)],
        lambda: _gpu(here),
        lambda: [_bandwidth(here)],
        lambda: [_mlx(installed)],
        lambda: [_mlx_lm(installed)],
        lambda: [_llama(installed)],
        _settings,
        lambda: [_demo()],
        _cache,
    ]
    return [finding for look in looks for finding in look()]


def _python() -> list[Finding]:
    import platform

    words = f"{platform.python_version()} on {platform.platform()}"
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        return [
            Finding(
                "python", "problem", f"{words}: an Intel Python, under Rosetta MLX has no GPU", "arch -arm64 python3"
            )
        ]
    return [Finding("python", "ok", words)]


def _machine(here: Machine) -> Finding:
    chip = here.chip or "unnamed processor"
    return Finding(
        "machine", "ok", f"{chip}, {here.cores} cores, {size(here.memory)} memory, {size(here.available)} available"
    )


def _gpu(here: Machine) -> list[Finding]:
    if not here.gpu:
        return [Finding("gpu", "note", "none that MLX uses: models run on the CPU")]
    words = f"{here.gpu}, may hold {size(here.gpu_memory)} ({here.gpu_memory_source})"
    found = [Finding("gpu", "ok", words + (f", driver {here.driver}" if here.driver else ""))]
    if sys.platform == "darwin" and here.gpu_memory < here.memory // 2:
        wanted = here.memory * 3 // 4 >> 20
        found.append(
            Finding(
                "wired limit",
                "note",
                "iogpu.wired_limit_mb keeps the GPU under half of the memory",
                f"sudo sysctl iogpu.wired_limit_mb={wanted}",
            )
        )
    return found


def _bandwidth(here: Machine) -> Finding:
    known = here.bandwidth
    if known.gb_per_s is None:
        return Finding("bandwidth", "note", f"unknown: {known.source}")
    return Finding("bandwidth", "ok", f"{known.gb_per_s:g} GB/s ({known.how}: {known.source})")


def _mlx(installed: dict[str, str]) -> Finding:
    extra = "localq" if sys.platform == "darwin" else "localq[cpu]"
    command = f"pip install '{extra}'"
    if not installed["mlx"]:
        return Finding("mlx", "problem", "not installed: nothing can be run", command)
    try:
        from localq.kernels.registry import device

        where = device()
    except (ImportError, OSError, RuntimeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding("mlx", "problem", f"{installed['mlx']} does not load: {first}", command)
    return Finding("mlx", "ok", f"{installed['mlx']}, computes on {where}")


def _mlx_lm(installed: dict[str, str]) -> Finding:
    version = installed["mlx-lm"]
    if not version.startswith("0.32."):
        words = f"{version}: localq is made for 0.32" if version else "not installed: no architecture can be loaded"
        return Finding("mlx-lm", "problem", words, "pip install 'mlx-lm>=0.32,<0.33'")
    return Finding("mlx-lm", "ok", version)


def _llama(installed: dict[str, str]) -> Finding:
    version = installed["llama-cpp-python"]
    if version:
        return Finding("llama.cpp", "ok", f"llama-cpp-python {version}")
    words = "not installed: GGUF files run on MLX; without a GPU llama.cpp is faster (needs a C++ compiler)"
    return Finding("llama.cpp", "note", words, "pip install 'localq[llama]'")


def _settings() -> list[Finding]:
    from localq.settings import load_settings, unknown_variables

    file = paths.config_file()
    try:
        load_settings()
        found = [Finding("settings", "ok", file if os.path.exists(file) else f"defaults (no {file})")]
    except LocalqError as error:
        found = [Finding("settings", "problem", str(error), f"$EDITOR '{file}'" if file in error.message else "")]
    for name in unknown_variables():
        found.append(Finding("environment", "problem", f"{name} means nothing to localq", f"unset {name}"))
    return found


def _demo() -> Finding:
    where = paths.demo_dir()
    missing = [f for f in ("config.json", "model.safetensors", "tokenizer.json") if not _is_file(where, f)]
    if missing:
        words = f"the bundled model lacks {', '.join(missing)}"
        return Finding("demo", "problem", words, "pip install --force-reinstall --no-deps localq")
    return Finding("demo", "ok", "the bundled model is there: localq chat demo")


def _is_file(folder: str, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, name))


def _cache() -> list[Finding]:
    """The Hugging Face cache: how much is there, what is half downloaded, what room is left."""
    import shutil

    where = paths.hf_cache_dir()
    if not os.path.isdir(where):
        return [Finding("cache", "ok", f"no models downloaded yet ({where})")]
    repos = [d for d in os.listdir(where) if d.startswith("models--")]
    total, partial = 0, []
    for repo in repos:
        blobs = os.path.join(where, repo, "blobs")
        for blob in os.scandir(blobs) if os.path.isdir(blobs) else ():
            total += blob.stat(follow_symlinks=False).st_size
            if blob.name.endswith(".incomplete"):
                partial.append(repo.removeprefix("models--").replace("--", "/"))
    free = shutil.disk_usage(where).free
    found = [Finding("cache", "ok", f"{len(repos)} models, {size(total)} in {where}; {size(free)} free")]
    for repo in sorted(set(partial)):
        found.append(Finding("cache", "note", f"{repo} is half downloaded", f"localq pull {repo}"))
    return found
