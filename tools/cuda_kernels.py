"""Compiles the CUDA text of every kernel as MLX would and prints what came of it. No GPU is needed, and none is used.

pip install --target DIR nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-crt nvidia-cuda-cccl
python tools/cuda_kernels.py --toolkit DIR/nvidia/cu13 [--arch sm_90a ...] [--write]

NVRTC compiles with MLX's flags; ptxas counts registers and bytes of local memory per thread. Both are facts of the text
and the compiler, not of a run: they say nothing about speed. MLX's utils.cuh is not in its wheel; a stand-in includes
what it includes. `--write` keeps the table in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from localq.formats import FORMATS  # noqa: E402
from localq.formats.base import PackedTensor  # noqa: E402
from localq.kernels import arrays  # noqa: E402
from localq.kernels.checks import random_tensor  # noqa: E402
from localq_metal.cuda import translated  # noqa: E402
from localq_metal.dequantize import dequantize, rows  # noqa: E402
from localq_metal.gather import gather  # noqa: E402
from localq_metal.hadamard import hadamard  # noqa: E402
from localq_metal.qmv import qmv, qmv_few  # noqa: E402
from localq_metal.qvm import qvm  # noqa: E402
from tests.metal.cuda import NAME, generated  # noqa: E402

ARCHITECTURES = ("sm_80", "sm_89", "sm_90a", "sm_100a", "sm_120a")
UTILS = """#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda/std/array>
#include <cuda/std/cstdint>
#include <cuda/std/limits>
namespace mlx::core::cu { using Shape = cuda::std::array<int, 10>; }
"""
SHAPE = (256, 1024)


def kernels() -> Iterator[tuple[str, str]]:
    """Name and text of each: all formats times operations, activations in bfloat16; small helpers once."""
    for fmt in FORMATS.values():
        for example in fmt.examples():
            if example.kernel is None:
                continue
            one = arrays.inputs(_tensor(example))
            if one is not None:
                yield from _of(arrays.packed([one], SHAPE), arrays.packed([one, one], (2, *SHAPE)), example.name)
    yield from _texts("hadamard", lambda f: hadamard(f, mx.zeros((4, 128), mx.bfloat16), 128))


def _tensor(fmt: Any) -> PackedTensor:
    rng = np.random.default_rng(0)
    return random_tensor(fmt, SHAPE, rng) if fmt.family == "ggml" else fmt.sample(SHAPE, rng)


def _of(one: Any, stack: Any, name: str) -> Iterator[tuple[str, str]]:
    x, which = mx.zeros((16, SHAPE[1]), mx.bfloat16), mx.zeros((16,), mx.uint32)
    back = mx.zeros((16, SHAPE[0]), mx.bfloat16)
    yield from _texts(f"dequantize {name}", lambda f: dequantize(f, one, mx.bfloat16))
    yield from _texts(f"rows {name}", lambda f: rows(f, one, which, mx.bfloat16))
    yield from _texts(f"qmv {name}", lambda f: qmv(f, one, x[:1]))
    yield from _texts(f"qmv_few {name}", lambda f: qmv_few(f, one, x[:8]))
    yield from _texts(f"gather {name}", lambda f: gather(f, stack, x, which))
    yield from _texts(f"qvm {name}", lambda f: qvm(f, stack, back, which))


def _texts(name: str, call: Any) -> Iterator[tuple[str, str]]:
    """What `call(factory)` launches, recorded instead of run."""
    seen: list[str] = []

    def recorder(**made: Any) -> Any:
        def launch(**how: Any) -> list[mx.array]:
            seen.append(generated(made, how)[0])
            return [mx.zeros(s, d) for s, d in zip(how["output_shapes"], how["output_dtypes"], strict=True)]

        return launch

    call(partial(translated, recorder))
    for text in seen:
        yield name, text


class Compiler:
    """NVRTC of a toolkit folder, by ctypes."""

    def __init__(self, toolkit: Path) -> None:
        self.toolkit = toolkit
        (library,) = (toolkit / "lib").glob("libnvrtc.so.*")
        self.lib = ctypes.CDLL(str(library))

    def compile(self, text: str, arch: str, includes: list[str]) -> tuple[bytes, str]:
        """The cubin, and the log; an empty cubin where it does not compile."""
        program = ctypes.c_void_p()
        self.lib.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--toolkit", type=Path, required=True, help="folder with lib/ and include/")
    parser.add_argument("--arch", nargs="*", default=ARCHITECTURES)
    parser.add_argument("--only", default="", help="kernels whose name has this")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/")
    args = parser.parse_args()
    compiler, lines, failures, counts = Compiler(args.toolkit), [], 0, Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        stub = Path(folder, "mlx/backend/cuda/device")
        stub.mkdir(parents=True)
        (stub / "utils.cuh").write_text(UTILS)
        includes = [folder, str(args.toolkit / "include"), str(args.toolkit / "include/cccl")]
        for name, text in kernels():
            if args.only not in name:
                continue
            cells = []
            for arch in args.arch:
                cubin, log = compiler.compile(text, arch, includes)
                counts[arch] += bool(cubin)
                if not cubin:
                    failures += 1
                    print(f"{name} for {arch}:\n{log[:2000]}", file=sys.stderr)
                cells.append(resources(log) if cubin else "does not compile")
            lines.append(f"| {name} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    head = f"| kernel | {' | '.join(args.arch)} |\n| --- |{' --- |' * len(args.arch)}\n"
    compiled = ", ".join(f"{arch} {counts[arch]}" for arch in args.arch)
    print(f"{len(lines)} kernels; compiled: {compiled}; failures: {failures}")
    if args.write:
        target = ROOT / "benchmarks/results" / "cuda_resources.md"
        target.parent.mkdir(exist_ok=True)
        about = (
            f"# CUDA text of localq's kernels: registers, and bytes of local memory, per thread\n\n"
            f"Compiled with NVRTC of {args.toolkit.name} on a machine without a GPU, {datetime.date.today()}, bfloat16 "
            f"activations; nothing was run. tools/cuda_kernels.py makes it.\n\n"
            f"{len(lines)} kernels; compiled: {compiled}.\n\n"
        )
        target.write_text(about + head + "\n".join(lines) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
