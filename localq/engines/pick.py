"""Which engine runs a checkpoint, and why."""

from __future__ import annotations

from typing import NamedTuple

from localq.checkpoints.base import Checkpoint
from localq.engines.base import Engine
from localq.errors import UnsupportedError, UsageError
from localq.kernels import registry

ENGINES = ("auto", "mlx", "llama")


class Choice(NamedTuple):
    """An engine's name and the reason it was chosen, in words."""

    name: str
    reason: str


def pick_engine(checkpoint: Checkpoint, name: str = "auto") -> Choice:
    """Choose "mlx" or "llama".

    Raises:
        UsageError: no engine of that name.
        UnsupportedError: no engine here can run the checkpoint's architecture.
    """
    from localq.engines.llama import installed

    if name not in ENGINES:
        raise UsageError(f"There is no engine '{name}'; the engines are {', '.join(ENGINES)}.")
    if name != "auto":
        return Choice(name, "asked for")
    gguf = checkpoint.container == "gguf"
    if gguf and installed() and registry.device() == "cpu":
        return Choice("llama", "a GGUF without a GPU: llama.cpp is the fast path on a CPU")
    problem = _why_not_mlx(checkpoint)
    if problem is None:
        where = registry.device()
        return Choice("mlx", f"packed weights on {where}" if where != "cpu" else "MLX and numpy on the CPU")
    if gguf and installed():
        return Choice("llama", problem if "llama.cpp may run it" in problem else f"{problem}; llama.cpp may run it")
    hint = "With llama-cpp-python it may run: pip install 'localq[llama]'." if gguf and "[llama]" not in problem else ""
    raise UnsupportedError(f"'{checkpoint.path}' cannot be run: {problem}.", hint)


def open_engine(checkpoint: Checkpoint, name: str = "auto", context: int | None = None) -> Engine:
    """Load a checkpoint with the engine `pick_engine` chooses; errors are those of the engine."""
    chosen = pick_engine(checkpoint, name).name
    if chosen == "llama":
        from localq.engines.llama import LlamaEngine

        return LlamaEngine(checkpoint, context)
    from localq.engines.mlx import MLXEngine

    return MLXEngine(checkpoint, context)


def _why_not_mlx(checkpoint: Checkpoint) -> str | None:
    from localq.models.architecture import find_classes

    if checkpoint.config is None:
        return (checkpoint.unsupported or "it has no config").rstrip(".")
    try:
        find_classes(checkpoint.config)
    except UnsupportedError as error:
        return error.message.rstrip(".")
    return None
