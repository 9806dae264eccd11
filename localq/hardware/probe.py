"""Reading what an operating system prints about its machine. Parsers take text, so that they are tested anywhere.

Nothing here runs at import; `run_quietly` is the only place that starts a program.
"""

import re
from typing import NamedTuple

MIB = 1 << 20


class NvidiaGpu(NamedTuple):
    """One line of `nvidia-smi --query-gpu=name,memory.total,memory.free,driver_version`; memory in bytes or None."""

    name: str
    memory: int | None
    free: int | None
    driver: str


def run_quietly(*command: str) -> str:
    """What `command` prints, or "" where it is missing, fails or takes over five seconds."""
    import subprocess

    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def parse_cpuinfo(text: str) -> str:
    """The processor's name from /proc/cpuinfo, "" where the kernel gives none (many ARM boards)."""
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.M)
    return found[1].strip() if found else ""


def parse_meminfo(text: str) -> tuple[int, int]:
    """Total and available bytes from /proc/meminfo; 0 for a line that is not there."""
    kib = {m[1]: int(m[2]) for m in re.finditer(r"^(\w+):\s+(\d+) kB$", text, re.M)}
    return kib.get("MemTotal", 0) * 1024, kib.get("MemAvailable", 0) * 1024


def parse_sysctl(text: str) -> dict[str, str]:
    """`sysctl name...` as name -> value ("hw.memsize: 17179869184")."""
    return {m[1]: m[2].strip() for m in re.finditer(r"^([\w.]+):\s*(.*)$", text, re.M)}


def parse_vm_stat(text: str) -> int:
    """Bytes macOS could give away at once (free, inactive, speculative and purgeable pages) from `vm_stat`."""
    size = re.search(r"page size of (\d+) bytes", text)
    pages = {m[1]: int(m[2]) for m in re.finditer(r"^Pages ([\w ]+):\s+(\d+)\.$", text, re.M)}
    spare = sum(pages.get(k, 0) for k in ("free", "inactive", "speculative", "purgeable"))
    return spare * int(size[1]) if size else 0


def parse_gpu_cores(text: str) -> int:
    """GPU cores from `ioreg -rc AGXAccelerator -d 1`, 0 where it does not say."""
    found = re.search(r'"gpu-core-count"\s*=\s*(\d+)', text)
    return int(found[1]) if found else 0


def parse_nvidia_smi(text: str) -> list[NvidiaGpu]:
    """GPUs from nvidia-smi's csv,noheader,nounits output (MiB); unified-memory parts print "[N/A]"."""
    gpus = []
    for line in text.splitlines():
        cells = [c.strip() for c in line.split(",")]
        if len(cells) == 4 and cells[0]:
            gpus.append(NvidiaGpu(cells[0], _mib(cells[1]), _mib(cells[2]), cells[3]))
    return gpus


def _mib(cell: str) -> int | None:
    return int(cell) * MIB if cell.isdigit() else None


def working_set_limit(memory: int, wired_limit_mb: int) -> tuple[int, str]:
    """Bytes a Mac's GPU may hold, and how that is known.

    `iogpu.wired_limit_mb` says it when set. 0 means the system's default, which Metal's
    recommendedMaxWorkingSetSize reports: 10.67 of 16 GB and 107.5 of 128 GB were seen by others
    (exo-explore/exo#1672, antirez/ds4#893), and newer systems give more; two thirds up to 36 GB and three
    quarters above is the cautious estimate used until MLX is asked.
    """
    if wired_limit_mb > 0:
        return min(memory, wired_limit_mb * MIB), "iogpu.wired_limit_mb"
    share = 2 / 3 if memory <= 36 << 30 else 3 / 4
    return int(memory * share), "estimated default"
