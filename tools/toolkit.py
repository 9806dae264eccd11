"""NVIDIA's compiler as PyPI has it, where it is installed: NVRTC, ptxas inside it, and the disassembler.

pip install nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl nvidia-cuda-nvdisasm

No GPU is needed, and none is used.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.metal.cuda import NAME

MISSING = (
    "NVRTC is not installed (pip install nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl "
    "nvidia-cuda-nvdisasm)"
)
UTILS = """#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda/std/array>
#include <cuda/std/cstdint>
#include <cuda/std/limits>
namespace mlx::core::cu { using Shape = cuda::std::array<int, 10>; }
"""  # stands in for MLX's utils.cuh, which its wheel lacks


def folder() -> Path | None:
    """The folder with lib/ and include/ of the newest toolkit among the installed packages."""
    found = importlib.util.find_spec("nvidia")
    places = [Path(p) for p in found.submodule_search_locations or []] if found else []
    whole = [lib.parent.parent for p in places for lib in p.glob("cu*/lib/libnvrtc.so.*")]
    return max((p for p in whole if (p / "include/cuda_fp16.h").is_file()), default=None)


def disassembler(toolkit: Path) -> str | None:
    """nvdisasm, of the toolkit or on the path."""
    own = toolkit / "bin/nvdisasm"
    return str(own) if own.is_file() else shutil.which("nvdisasm")


class Compiler:
    """NVRTC of a toolkit folder, by ctypes."""

    def __init__(self, toolkit: Path) -> None:
        self.toolkit = toolkit
        (library,) = (toolkit / "lib").glob("libnvrtc.so.*")
        self.lib = ctypes.CDLL(str(library))
        self.stub = tempfile.TemporaryDirectory()
        utils = Path(self.stub.name, "mlx/backend/cuda/device/utils.cuh")
        utils.parent.mkdir(parents=True)
        utils.write_text(UTILS)

    def compile(self, text: str, arch: str) -> tuple[bytes, str]:
        """The cubin, and the log; an empty cubin where it does not compile."""
        program = ctypes.c_void_p()
        self.lib.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
        includes = [self.stub.name, str(self.toolkit / "include"), str(self.toolkit / "include/cccl")]
        flags = [
            "--device-as-default-execution-space",
            f"--gpu-architecture={arch}",
            "--ptxas-options=-v",
            "--pch",
            *(f"-I{i}" for i in includes),
        ]
        given = (ctypes.c_char_p * len(flags))(*[f.encode() for f in flags])
        self.lib.nvrtcAddNameExpression(program, f"mlx::core::cu::{NAME}".encode())
        failed = self.lib.nvrtcCompileProgram(program, len(flags), given)
        log = self._get(program, "ProgramLog").decode().strip("\0")
        cubin = b"" if failed else self._get(program, "CUBIN")
        self.lib.nvrtcDestroyProgram(ctypes.byref(program))
        return cubin, log

    def _get(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        getattr(self.lib, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.lib, f"nvrtcGet{what}")(program, buffer)
        return buffer.raw


def resources(log: str) -> str:
    """What ptxas says of registers per thread, and of bytes of local memory where there are any."""
    registers, stack = re.search(r"Used (\d+) registers", log), re.search(r"(\d+) bytes stack frame", log)
    spilled = re.search(r"(\d+) bytes spill stores", log)
    assert registers and stack and spilled, log
    local = f" + {stack[1]} B" if stack[1] != "0" else ""
    return registers[1] + local + (f", {spilled[1]} B spilled" if spilled[1] != "0" else "")


def instructions(tool: str, cubin: bytes) -> list[tuple[int, str, str]]:
    """Address, opcode and operands of each instruction of a kernel."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "-hex", file.name], capture_output=True, text=True, check=True).stdout
    labels: dict[str, int] = {}
    found: list[tuple[int, str, str]] = []
    waiting: list[str] = []
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_\w+):", line):
            waiting.append(label[1])
        if code := re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_.]+)\s*([^;]*);", line):
            at = int(code[1], 16)
            labels.update(dict.fromkeys(waiting, at))
            waiting = []
            found.append((at, code[2], code[3]))
    return [(at, op, re.sub(r"`\((\.L_\w+)\)", lambda m: hex(labels.get(m[1], 0)), rest)) for at, op, rest in found]


def inner_loop(code: list[tuple[int, str, str]]) -> list[str]:
    """Opcodes of the longest loop; none where there is none."""
    place = {at: i for i, (at, _, _) in enumerate(code)}
    loops = []
    for i, (at, op, rest) in enumerate(code):
        target = re.search(r"0x([0-9a-f]+)", rest)
        if op.startswith("BRA") and target and (to := int(target[1], 16)) < at and to in place:
            loops.append((place[to], i))
    if not loops:
        return []
    start, end = max(loops, key=lambda loop: loop[1] - loop[0])
    return [op for _, op, _ in code[start : end + 1]]
