"""This machine: chip, memory, GPU, bandwidth and the back-ends that are installed. Asked only when called."""

import os
import sys
from typing import NamedTuple

from localq.hardware import probe
from localq.hardware.chips import find_chip

GIB = 1 << 30


class Bandwidth(NamedTuple):
    """Memory bandwidth: GB/s (10**9) or None, and how it is known: "table", "measured" or "unknown"."""

    gb_per_s: float | None
    how: str
    source: str = ""


class Machine(NamedTuple):
    """What was found; bytes, 0 or "" where the system does not say."""

    system: str  # "Linux x86_64", "Darwin arm64"
    chip: str
    cores: int
    memory: int
    available: int
    gpu: str  # "" without one localq could use
    gpu_memory: int  # bytes the GPU may hold: its own, or the working-set limit of unified memory
    gpu_memory_source: str
    driver: str
    bandwidth: Bandwidth  # of the memory the weights would lie in


def machine(measure: bool = False) -> Machine:
    """Look at this machine without importing MLX; `measure` times the memory where no table row fits (0.2 s)."""
    found = _mac() if sys.platform == "darwin" else _linux()
    if found.bandwidth.how == "unknown" and measure and not found.gpu:
        found = found._replace(bandwidth=measured_bandwidth())
    return found


def measured_bandwidth() -> Bandwidth:
    """Time a copy of 128 MiB by one thread: bytes read plus bytes written per second, best of five."""
    import time

    import numpy as np

    source = np.ones(16 << 20, np.float64)
    target = np.empty_like(source)
    np.copyto(target, source)  # touch every page first: the first pass times the kernel's zeroing
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - start)
    return Bandwidth(round(2 * source.nbytes / best / 1e9, 1), "measured", "numpy copy of 128 MiB, one thread")


def _name() -> str:
    kind = os.uname() if hasattr(os, "uname") else None
    return f"{kind.sysname} {kind.machine}" if kind else sys.platform


def _table(name: str, memory: int, cores: int = 0) -> Bandwidth:
    row = find_chip(name, memory / GIB, cores)
    if row is None:
        return Bandwidth(None, "unknown", f"no row for '{name}'" if name else "the system names no chip")
    return Bandwidth(row.bandwidth, "table", row.source)


def _linux() -> Machine:
    memory, available = probe.parse_meminfo(_read("/proc/meminfo"))
    chip = probe.parse_cpuinfo(_read("/proc/cpuinfo"))
    gpus = probe.parse_nvidia_smi(
        probe.run_quietly(
            "nvidia-smi", "--query-gpu=name,memory.total,memory.free,driver_version", "--format=csv,noheader,nounits"
        )
    )
    base = Machine(_name(), chip, os.cpu_count() or 0, memory, available, "", 0, "", "", _table(chip, memory))
    if not gpus:
        return base
    gpu = gpus[0]
    size = gpu.memory or memory  # GB10 and other unified parts report no memory of their own
    source = "nvidia-smi" if gpu.memory else "unified with the system's memory"
    return base._replace(
        gpu=gpu.name, gpu_memory=size, gpu_memory_source=source, driver=gpu.driver, bandwidth=_table(gpu.name, size)
    )


def _mac() -> Machine:
    keys = probe.parse_sysctl(
        probe.run_quietly("sysctl", "machdep.cpu.brand_string", "hw.memsize")
        + probe.run_quietly("sysctl", "iogpu.wired_limit_mb")
    )
    memory, chip = int(keys.get("hw.memsize", 0)), keys.get("machdep.cpu.brand_string", "")
    cores = probe.parse_gpu_cores(probe.run_quietly("ioreg", "-rc", "AGXAccelerator", "-d", "1"))
    limit, how = probe.working_set_limit(memory, int(keys.get("iogpu.wired_limit_mb", 0)))
    spare = probe.parse_vm_stat(probe.run_quietly("vm_stat"))
    gpu = chip if chip.startswith("Apple") else ""
    return Machine(_name(), chip, os.cpu_count() or 0, memory, spare, gpu, limit, how, "", _table(chip, memory, cores))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def backends() -> dict[str, str]:
    """Installed compute libraries as name -> version, "" where missing; nothing is imported."""
    from importlib import metadata

    names = ("mlx", "mlx-metal", "mlx-cuda-12", "mlx-cuda-13", "mlx-cpu", "mlx-lm", "llama-cpp-python")
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found
