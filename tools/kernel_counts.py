"""What is known of kernels without a GPU: bytes, loads and instructions per weight, registers. `make bench-kernels`.

Loads are counted by the executor of tests/metal in the text as it stands (see tests/metal/counting.py), instructions
and registers by NVIDIA's compiler for sm_90a in its CUDA twin. None of them is a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from localq.formats.base import Format
from localq.kernels import arrays
from localq.kernels.drawn import random_tensor
from localq_metal.cuda import translated
from localq_metal.dequantize import dequantize, rows
from localq_metal.gather import gather
from localq_metal.qmm import qmm
from localq_metal.qmv import qmv, qmv_few
from localq_metal.qvm import qvm
from localq_metal.source import METAL_ONLY, Packed
from tests.metal.counting import Counting
from tests.metal.cuda import generated
from tests.metal.harness import missing
from tools.instructions import ARCH, counts
from tools.toolkit import MISSING, Compiler, disassembler, folder, resources

SHAPE = (128, 1024)
Call = Callable[[Any], Any]
NOTHING = "-"


def operations(one: Packed, stack: Packed) -> Iterator[tuple[str, int, int, Call]]:
    """Name, weights decoded for one result, rows of activations, and the launch (float32)."""
    (out, width), dtype = one.shape, mx.float32
    x, back = mx.zeros((32, width)), mx.zeros((1, out))
    all_of = out * width
    yield "dequantize", all_of, 0, lambda f: dequantize(f, one, dtype)
    yield "embedding", 4 * width, 0, lambda f: rows(f, one, mx.arange(8)[:4], dtype)
    yield "vector", all_of, 1, lambda f: qmv(f, one, x[:1])
    yield "few (8)", all_of, 8, lambda f: qmv_few(f, one, x[:8])
    yield "tiles (32)", all_of, 32, lambda f: qmm(f, one, x)
    yield "experts", 2 * all_of, 2, lambda f: gather(f, stack, x[:2], mx.array([1, 0]))
    yield "stored", all_of, 1, lambda f: qvm(f, one, back)


def show(formats: list[type[Format]]) -> int:
    """Print the table for these formats."""
    why = missing()
    toolkit = folder()
    tool = disassembler(toolkit) if toolkit else None
    print("No GPU here: nothing is timed. Bytes and loads of packed weights, grids and scales, per weight decoded.")
    print(f"Loads: {why}" if why else "Loads: counted by the executor in the text as it stands, activations apart.")
    print(f"Instructions, registers: {ARCH}, NVRTC." if toolkit else f"Instructions, registers: {MISSING}.")
    head = ("bytes moved", "loads", "bytes loaded", "x loads", "instructions", "registers")
    print(f"{'format':<36}{'operation':<12}" + "".join(f"{word:>14}" for word in head))
    compiler = Compiler(toolkit) if toolkit else None
    with tempfile.TemporaryDirectory() as place:
        counting = None if why else Counting(Path(place))
        for fmt in formats:
            each = [arrays.inputs(random_tensor(fmt, SHAPE, np.random.default_rng(s))) for s in range(2)]
            found = [one for one in each if one is not None]
            if len(found) < 2 or not arrays.alike(found[0], found[1]):
                print(f"{fmt.name:<36}no kernel of ours holds a drawn tensor")
                continue
            one, stack = arrays.packed(found[:1], SHAPE), arrays.packed(found, (2, *SHAPE))
            loop = counts(compiler, tool, fmt.name) if compiler and tool else {}
            for name, weights, tokens, call in operations(one, stack):
                cells = [_moved(one, name, weights, tokens), *_loads(counting, one, weights, call)]
                cells += [f"{loop['all']:.2f}" if loop and name == "vector" else NOTHING, _registers(compiler, call)]
                print(f"{fmt.name:<36}{name:<12}" + "".join(f"{cell:>14}" for cell in cells), flush=True)
    return 0


def _moved(one: Packed, name: str, weights: int, tokens: int) -> str:
    """Bytes that must come and go, per weight: packed ones, float16 activations and results."""
    out, width = one.shape
    packed = weights * sum(a.nbytes for a in one.arrays) / one.size
    results = weights if name in ("dequantize", "embedding") else tokens * (out + width)
    return f"{(packed + 2 * results) / weights:.3f}"


def _loads(counting: Counting | None, one: Packed, weights: int, call: Call) -> list[str]:
    if counting is None:
        return [NOTHING] * 3
    found = counting.count(call)
    x = found.pop("x", None)
    inputs = [loads for name, loads in found.items() if not name.endswith("_shape")]
    per = [sum(loads.times for loads in inputs), sum(loads.bytes for loads in inputs), x.times if x else 0]
    return [f"{n / weights:.2f}" for n in per]


def _registers(compiler: Compiler | None, call: Call) -> str:
    """Registers per thread, and bytes of local memory and spills where there are any; tiles have no CUDA twin."""
    if compiler is None:
        return NOTHING
    seen: list[str] = []

    def recorder(**made: Any) -> Any:
        if any(word in made["name"] for word in METAL_ONLY):
            return lambda **how: [mx.zeros(how["output_shapes"][0])]

        def launch(**how: Any) -> list[mx.array]:
            seen.append(generated(made, how)[0])
            return [mx.zeros(how["output_shapes"][0])]

        return launch

    call(partial(translated, recorder))
    if not seen:
        return NOTHING
    cubin, log = compiler.compile(seen[0], ARCH)
    return resources(log) if cubin else "not compiled"
