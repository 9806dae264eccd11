"""Runs kernels of `mx.fast.metal_kernel` on a CPU: the text that MLX writes, compiled by g++, run by msl/executor.cpp.

`Harness.factory(mode)` has the signature of `mx.fast.metal_kernel`. Values are what a Mac would compute up to what
Metal leaves open, and the modes vary just that: the order of lanes and sums, fused multiply-add, subnormals. The
checked mode watches every load and store. Says nothing about speed, registers or what Apple's compiler refuses.
"""

from __future__ import annotations

import _ctypes
import ctypes
import hashlib
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from tests.metal.translate import PRELUDE, Parameter, generated, translate

HERE = Path(__file__).resolve().parent / "msl"
MLX_INCLUDE = Path(mx.__file__).parent / "include"
JUNK = 0xA5  # what outputs hold before the launch
REAL = mx.fast.metal_kernel  # tests replace the name by a factory
Buffers = list[tuple[Any, Parameter]]  # bytes, and what they are to the kernel
NUMPY = {
    mx.float32: np.float32,
    mx.float16: np.float16,
    mx.bfloat16: np.uint16,
    mx.uint8: np.uint8,
    mx.int8: np.int8,
    mx.uint16: np.uint16,
    mx.int32: np.int32,
    mx.uint64: np.uint64,
    mx.uint32: np.uint32,
}


class KernelError(RuntimeError):
    """The kernel does not compile, or the executor saw what a GPU would not have reported."""


@dataclass(frozen=True)
class Mode:
    """What Metal leaves open, and whether memory is watched."""

    name: str
    reversed: bool = False  # threads, lanes and threadgroups run from the last to the first
    sum_order: int = 0  # of simd_sum: 0 a tree, 1 ascending, 2 descending
    fma: bool = False
    flush: bool = False  # subnormal floats are zero
    checked: bool = False
    sanitised: bool = False  # compiled with g++'s sanitisers, a process for every launch: see sanitised.py
    offset: int = 0  # bytes from a 256-byte boundary at which inputs of bytes lie


FAST = Mode("fast")
FMA = Mode("fma reversed", fma=True, reversed=True, sum_order=2)
FLUSH = Mode("flush", flush=True, sum_order=1)
CHECKED = Mode("checked", checked=True)
SANITISED = Mode("sanitised", sanitised=True)


def modes(dtype: mx.Dtype) -> tuple[Mode, ...]:
    """Every mode for float32; a half changes only the store, for which fused arithmetic would be compiled anew."""
    return (FAST, FLUSH, CHECKED, FMA) if dtype == mx.float32 else (FAST, FLUSH, CHECKED)


def missing() -> str:
    """Why kernels cannot run here, "" if they can."""
    if platform.system() != "Linux":
        return "the executor of Metal kernels runs on Linux"
    if not shutil.which("g++"):
        return "the executor of Metal kernels needs g++ (12 or newer)"
    if not (MLX_INCLUDE / "mlx/backend/metal/kernels/utils.h").is_file():
        return "this build of MLX ships no Metal headers"
    trial = subprocess.run(
        ["g++", "-std=gnu++14", "-fsyntax-only", "-x", "c++", "-"],
        input="_Float16 f; int x = __builtin_bit_cast(int, 1.0f);",
        capture_output=True, text=True,
    )  # fmt: skip
    return "" if trial.returncode == 0 else "the executor of Metal kernels needs g++ 12 or newer (_Float16)"


class Harness:
    """Compiled kernels in one folder; equal texts are compiled once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.compiled: dict[str, Path] = {}
        self.executor = folder / "executor.o"
        _gxx("-std=gnu++17", "-O1", "-g", "-fPIC", "-fno-gnu-unique", "-c", "-o", self.executor, HERE / "executor.cpp")
        cpu = Path("/proc/cpuinfo").read_text()
        self.native = [flag for flag, word in (("-mf16c", " f16c"), ("-mfma", " fma ")) if word in cpu]

    def factory(self, mode: Mode = FAST) -> Any:
        """What has the signature of `mx.fast.metal_kernel`, launching in `mode`."""

        def metal_kernel(**made: Any) -> Kernel:
            return Kernel(self, mode, made)

        return metal_kernel

    def flags(self, mode: Mode) -> list[str]:
        """What g++ is told: half rounds after each operation and unsuffixed literals are floats, as in Metal."""
        flags = ["-std=gnu++14", "-O1", "-fPIC", "-fsigned-char", "-fno-strict-aliasing", "-fsingle-precision-constant"]
        flags += [*self.native, "-w", "-fcf-protection=none", "-fno-gnu-unique"]
        flags += [f"-ffp-contract={'fast' if mode.fma else 'off'}"]
        flags += ["-g", "-fsanitize=thread"] if mode.checked else []
        return [*flags, f"-isystem{HERE}", f"-isystem{MLX_INCLUDE}"]

    def library(self, cpp: str, mode: Mode, prelude: str = PRELUDE) -> Path:
        """The shared library of a translated kernel, which stands after `prelude`.

        Raises:
            KernelError: g++ refuses it.
        """
        flags = self.flags(mode)
        key = self.key(flags, prelude, cpp)
        if key not in self.compiled:
            source = self.folder / f"{key}.cpp"
            source.write_text(cpp)
            made = source.with_suffix(".o")
            _gxx(*flags, "-include", self.prelude(flags, prelude), "-c", "-o", made, source)
            _gxx("-shared", "-o", made.with_suffix(".so"), made, self.executor)
            self.compiled[key] = made.with_suffix(".so")
        return self.compiled[key]

    def key(self, flags: list[str], *texts: str) -> str:
        """What a build is known by."""
        return hashlib.sha256(" ".join([*flags, *texts]).encode()).hexdigest()[:24]

    def run(self, cpp: str, prelude: str, buffers: Buffers, size: tuple[Any, Any], mode: Mode) -> None:
        """Compile a translated kernel and run one launch; `size`: its grid and threadgroup.

        Raises:
            KernelError: as `library` and `launch`.
        """
        if mode.sanitised:
            from tests.metal import sanitised

            sanitised.run(self, cpp, prelude, buffers, size, mode)
        else:
            launch(self.library(cpp, mode, prelude), buffers, *size, mode)

    def prelude(self, flags: list[str], text: str) -> Path:
        """The header every kernel begins with, precompiled for these flags: most of a compilation is reading it."""
        header = self.folder / self.key(flags, text) / "prelude.h"
        if not header.exists():
            header.parent.mkdir()
            header.write_text(text)
            _gxx(*flags, "-x", "c++-header", "-o", f"{header}.gch", header)
        return header


@dataclass
class Kernel:
    """Called like a kernel of `mx.fast.metal_kernel`; computes at once."""

    harness: Harness
    mode: Mode
    made: dict[str, Any]
    texts: dict[str, str] = field(default_factory=dict)

    def __call__(self, **call: Any) -> list[mx.array]:
        inputs = call["inputs"]
        cpp, parameters = translate(self.text(call))
        stored = {
            n: _bytes(a, self.mode.offset if a.dtype == mx.uint8 else 0)
            for n, a in zip(self.made["input_names"], inputs, strict=True)
        }
        for name, a in zip(self.made["input_names"], inputs, strict=True):
            stored[f"{name}_shape"] = np.array(a.shape, np.int32)  # handed over where the text asks for it
        dtypes = dict(zip(self.made["output_names"], call["output_dtypes"], strict=True))
        shapes = dict(zip(self.made["output_names"], call["output_shapes"], strict=True))
        for name, dtype in dtypes.items():
            stored[name] = _aligned(int(np.prod(shapes[name])) * np.dtype(NUMPY[dtype]).itemsize, 0)
            stored[name][:] = JUNK
        size = (call["grid"], call["threadgroup"])
        self.harness.run(cpp, PRELUDE, [(stored[p.name], p) for p in parameters], size, self.mode)
        return [_array(stored[n], shapes[n], dtypes[n]) for n in self.made["output_names"]]

    def text(self, call: dict[str, Any]) -> str:
        """The source MLX generates for these inputs and template arguments."""
        shapes = [(a.dtype, a.ndim, a.size < 8) for a in call["inputs"]]
        key = repr((shapes, call.get("template"), call["output_dtypes"]))
        if key not in self.texts:
            real = REAL(**self.made)
            rest = {n: v for n, v in call.items() if n != "inputs"}
            self.texts[key] = generated(lambda *xs: real(inputs=list(xs), **rest)[0], call["inputs"])
        return self.texts[key]


def launch(library: Path, buffers: Buffers, grid: Any, threadgroup: Any, mode: Mode) -> None:
    """Run one launch.

    Raises:
        KernelError: with everything the executor found, source lines named.
    """
    loaded = ctypes.CDLL(str(library))
    entry = loaded.lq_launch
    entry.restype = ctypes.c_char_p
    count = len(buffers)
    options = (int(mode.reversed), mode.sum_order, int(mode.flush), int(mode.checked))
    findings = entry(
        (ctypes.c_void_p * count)(*[b.ctypes.data for b, _ in buffers]),
        (ctypes.c_uint64 * count)(*[b.nbytes for b, _ in buffers]),
        (ctypes.c_int * count)(*[int(p.output) for _, p in buffers]),
        count,
        (ctypes.c_uint32 * 3)(*grid),
        (ctypes.c_uint32 * 3)(*threadgroup),
        (ctypes.c_int * 4)(*options),
    ).decode()
    _ctypes.dlclose(loaded._handle)  # each holds megabytes, and a session compiles over a thousand
    if findings:
        raise KernelError(re.sub(r"pc=([0-9a-f]+)", lambda m: _line(library, m.group(1)), findings))


def _gxx(*arguments: Any) -> None:
    done = subprocess.run(["g++", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise KernelError(f"g++ refuses it:\n{done.stderr[:4000]}")


def _line(library: Path, address: str) -> str:
    """ "line 12" of the kernel for an address in it; addr2line comes with g++'s binutils."""
    command = ["addr2line", "-e", str(library), "-i", f"0x{address}"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.split()
    found = [at.rpartition(":")[2] for at in lines if at.rpartition(":")[0].endswith("kernel")]
    return f"line {found[0] if found else '?'}:"


def _aligned(size: int, offset: int) -> np.ndarray:
    raw = np.empty(size + 512, np.uint8)
    start = -raw.ctypes.data % 256 + offset
    return raw[start : start + size]


def _bytes(a: mx.array, offset: int) -> np.ndarray:
    plain = np.array(a.view(mx.uint16) if a.dtype == mx.bfloat16 else a)
    assert plain.dtype == NUMPY[a.dtype], a.dtype
    out = _aligned(plain.nbytes, offset)
    out[:] = np.ascontiguousarray(plain).reshape(-1).view(np.uint8)
    return out


def _array(stored: np.ndarray, shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    plain = mx.array(stored.view(NUMPY[dtype]).reshape(shape))
    return plain.view(mx.bfloat16) if dtype == mx.bfloat16 else plain
