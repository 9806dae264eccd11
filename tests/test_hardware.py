"""Parsers on canned outputs, the chip table's rules, and this machine.

The macOS and nvidia-smi texts were written from public documentation and threads; none was captured on a Mac by us.
"""

from __future__ import annotations

import os
import sys

import pytest

from localq.hardware import CHIPS, find_chip, machine, measured_bandwidth, working_set_limit
from localq.hardware import machine as machine_function
from localq.hardware.probe import (
    parse_cpuinfo,
    parse_gpu_cores,
    parse_meminfo,
    parse_nvidia_smi,
    parse_sysctl,
    parse_vm_stat,
    run_quietly,
)

GIB = 1 << 30
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            200000.
Pages inactive:                           20000.
Pages speculative:                         3000.
Pages wired down:                        100000.
Pages purgeable:                            500.
"Translation faults":                 123456789.
"""


def test_vm_stat() -> None:
    assert parse_vm_stat(VM_STAT) == 33500 * 16384


def test_sysctl() -> None:
    found = parse_sysctl("machdep.cpu.brand_string: Apple M4 Max\nhw.memsize: 68719476736\niogpu.wired_limit_mb: 0\n")
    assert found == {
        "machdep.cpu.brand_string": "Apple M4 Max",
        "hw.memsize": "68719476736",
        "iogpu.wired_limit_mb": "0",
    }


def test_gpu_cores() -> None:
    assert parse_gpu_cores('+-o AGXAcceleratorG16X\n  | "gpu-core-count" = 40\n') == 40
    assert parse_gpu_cores("") == 0


def test_cpuinfo_and_meminfo() -> None:
    assert parse_cpuinfo("processor\t: 0\nmodel name\t: AMD EPYC 9R14\nflags\t: fpu\n") == "AMD EPYC 9R14"
    assert parse_cpuinfo("processor\t: 0\nBogoMIPS\t: 48.00\n") == ""
    assert parse_meminfo("MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:    8192 kB\n") == (16 << 20, 8 << 20)


def test_nvidia_smi() -> None:
    gpus = parse_nvidia_smi("NVIDIA H200, 143771, 143160, 570.86.15\nNVIDIA GB10, [N/A], [N/A], 580.95.05\n")
    assert [(g.name, g.memory, g.driver) for g in gpus] == [
        ("NVIDIA H200", 143771 << 20, "570.86.15"),
        ("NVIDIA GB10", None, "580.95.05"),
    ]
    assert parse_nvidia_smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n") == []


def test_a_missing_program_says_nothing() -> None:
    assert run_quietly("localq-no-such-program") == ""


@pytest.mark.parametrize(
    ("name", "memory", "cores", "bandwidth"),
    [
        ("Apple M1", 16, 8, 68),
        ("Apple M4 Max", 128, 40, 546),
        ("Apple M4 Max", 36, 32, 410),
        ("Apple M6", 16, 0, 153),
        ("Apple M6", 32, 0, 170),
        ("NVIDIA GeForce RTX 3060", 12, 0, 360),
        ("NVIDIA GeForce RTX 3060", 8, 0, 240),
        ("NVIDIA GeForce RTX 5090", 31.8, 0, 1792),
        ("NVIDIA A100-SXM4-80GB", 80, 0, 2039),
        ("NVIDIA H100 80GB HBM3", 79.6, 0, 3350),
        ("NVIDIA H200", 140.4, 0, 4800),
        ("NVIDIA GB10", 120, 0, 273),
    ],
)
def test_known_chips(name: str, memory: float, cores: int, bandwidth: float) -> None:
    row = find_chip(name, memory, cores)
    assert row is not None and row.bandwidth == bandwidth


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Apple M6 Max", "no public figure"),
        ("Apple M4 Max", "sold with two memory buses, and the cores are not known"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "the laptop part has other memory than the desktop part"),
        ("AMD EPYC", "bandwidth depends on the memory in the sockets"),
    ],
)
def test_what_is_not_known_is_not_guessed(name: str, why: str) -> None:
    assert find_chip(name) is None, why


def test_every_row_names_its_source_and_a_plausible_figure() -> None:
    for chip in CHIPS:
        assert chip.source.startswith("https://"), chip
        assert 50 <= chip.bandwidth <= 10_000, chip


def test_every_row_can_be_found() -> None:
    for chip in CHIPS:
        low, high = chip.memory_gb
        memory = 0 if low == 0 else (low + high) // 2
        assert find_chip(chip.name, memory, chip.gpu_cores) == chip


def test_working_set_limit() -> None:
    assert working_set_limit(64 * GIB, 57344) == (56 * GIB, "iogpu.wired_limit_mb")
    assert working_set_limit(64 * GIB, 0) == (48 * GIB, "estimated default")
    assert working_set_limit(18 * GIB, 0) == (12 * GIB, "estimated default")
    assert working_set_limit(8 * GIB, 1 << 20)[0] == 8 * GIB, "never more than there is"


def test_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way from programs' outputs to a `Machine`."""
    answers = {
        ("sysctl", "machdep.cpu.brand_string", "hw.memsize"): (
            "machdep.cpu.brand_string: Apple M3 Max\nhw.memsize: 137438953472\n"
        ),
        ("sysctl", "iogpu.wired_limit_mb"): "iogpu.wired_limit_mb: 0\n",
        ("ioreg", "-rc", "AGXAccelerator", "-d", "1"): '"gpu-core-count" = 40',
        ("vm_stat",): VM_STAT,
    }
    monkeypatch.setattr("localq.hardware.probe.run_quietly", lambda *command: answers[command])
    monkeypatch.setattr("sys.platform", "darwin")
    found = machine_function()
    assert (found.chip, found.memory, found.gpu) == ("Apple M3 Max", 128 * GIB, "Apple M3 Max")
    assert (found.gpu_memory, found.gpu_memory_source) == (96 * GIB, "estimated default")
    assert (found.bandwidth.gb_per_s, found.bandwidth.how) == (400, "table")


def test_a_linux_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("localq.hardware.probe.run_quietly", lambda *_: "NVIDIA H200, 143771, 143160, 570.86.15\n")
    found = machine_function()
    assert (found.gpu, found.gpu_memory, found.bandwidth.gb_per_s) == ("NVIDIA H200", 143771 << 20, 4800)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_this_machine() -> None:
    found = machine()
    assert found.cores == os.cpu_count()
    assert 0 < found.available <= found.memory == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_measured_bandwidth_says_so() -> None:
    found = measured_bandwidth()
    assert found.how == "measured" and found.gb_per_s is not None and 0.5 < found.gb_per_s < 5000


def test_looking_imports_no_mlx() -> None:
    import subprocess

    code = (
        "import sys; from localq.hardware import machine, backends; machine(); backends(); print('mlx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
