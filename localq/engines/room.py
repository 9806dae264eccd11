"""Is there memory for a model before it is loaded? Rough on purpose: the weights as stored and a margin."""

from __future__ import annotations

import os
import sys

import mlx.core as mx

from localq.checkpoints.base import Checkpoint
from localq.errors import DoesNotFitError
from localq.kernels import registry

OVERHEAD = 256 << 20  # Python, MLX, row blocks of a decoded layer, activations of one prefill chunk


def need(checkpoint: Checkpoint) -> int:
    """Bytes a model takes while it runs, the KV cache not counted: packed weights and overhead.

    On a GPU a ggml type is held in the MLX mode that contains it: up to a fifth larger.
    """
    packed = sum(spec.nbytes for spec in checkpoint.text_specs.values())
    if registry.device() != "cpu" and checkpoint.container == "gguf":
        packed += packed // 5
    return packed + OVERHEAD


def available() -> tuple[int, str]:
    """Bytes that can be had now and what they are: the GPU's working set, or memory the system could give."""
    if registry.device() != "cpu":
        info = mx.device_info()
        limit = info.get("max_recommended_working_set_size") or info.get("memory_size") or 0
        return int(limit) - mx.get_active_memory(), "GPU memory"
    if sys.platform == "linux":
        from localq.hardware.probe import parse_meminfo

        with open("/proc/meminfo", encoding="ascii") as file:
            return parse_meminfo(file.read())[1], "available memory"
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "memory"


def check_room(checkpoint: Checkpoint) -> None:
    """Refuse a model that is larger than what is there.

    Raises:
        DoesNotFitError: with both numbers.
    """
    wanted, (there, kind) = need(checkpoint), available()
    if there > 0 and wanted > there:
        raise DoesNotFitError(
            f"'{checkpoint.path}' needs about {wanted / 1e9:.1f} GB to run; there are {there / 1e9:.1f} GB of {kind}.",
            "Take a smaller build of the model, or free some memory.",
        )
