"""Compiles the CUDA text of every kernel as MLX would and prints what came of it. No GPU is needed, and none is used.

python -m tools.cuda_kernels [--toolkit FOLDER] [--arch sm_90a ...] [--write]        which packages: tools/toolkit.py

NVRTC compiles with MLX's flags; ptxas counts registers and bytes of local memory per thread. Both are facts of the text
and the compiler, not of a run: they say nothing about speed. MLX's utils.cuh is not in its wheel; a stand-in includes
what it includes. `--write` keeps the table in benchmarks/results/.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from localq.formats import FORMATS
from localq.formats.base import PackedTensor
from localq.kernels import arrays
from localq.kernels.checks import random_tensor
from localq_metal import quantize
from localq_metal.cuda import translated
from localq_metal.dequantize import dequantize, rows
from localq_metal.fused import Around, Experts, Norm, Turn, fused
from localq_metal.gather import gather
from localq_metal.hadamard import hadamard
from localq_metal.norm_add import norm_add
from localq_metal.qmv import qmv, qmv_few
from localq_metal.qvm import qvm
from localq_metal.route import route
from localq_metal.several import several
from localq_metal.turned import turned
from tests.metal.cuda import generated
from tools.toolkit import MISSING, Compiler, folder, resources

ROOT = Path(__file__).resolve().parent.parent

ARCHITECTURES = ("sm_80", "sm_89", "sm_90a", "sm_100a", "sm_120a")
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
    w = mx.zeros((8, 128), mx.bfloat16)
    yield from _texts("quantize affine 4 bits", lambda f: quantize.affine(f, w, 64, 4))
    for mode in quantize.FLOATS:
        yield from _texts(f"quantize {mode}", lambda f, mode=mode: quantize.floating(f, w, mode))
    yield from _texts("quantize e4m3", lambda f: quantize.to_fp8(f, w))
    q, turn = mx.zeros((1, 4, 64), mx.bfloat16), mx.zeros((1, 64))
    norm = Norm(w[0], 1e-6)
    yield from _texts("turned", lambda f: turned(f, (q, q[:, :2], q[:, :2]), norm, turn))
    yield from _texts("turned biased", lambda f: turned(f, (q, q[:, :2], q[:, :2]), mx.zeros(512, q.dtype), turn))
    yield from _texts("norm_add", lambda f: norm_add(f, w, w, norm))
    yield from _texts("route", lambda f: route(f, w, 4, True))
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
    yield from _of_layers(one, stack, name)


def _of_layers(one: Any, stack: Any, name: str) -> Iterator[tuple[str, str]]:
    """The launches of a fused decoder layer: which, models/step.py says."""
    x, gain = mx.zeros((4, SHAPE[1]), mx.bfloat16), mx.zeros((SHAPE[1],), mx.bfloat16)
    norm, named, scores = Norm(gain, 1e-6), mx.zeros((4,), mx.uint32), mx.zeros((4,), mx.bfloat16)
    more, turn = mx.zeros((4, SHAPE[0]), mx.bfloat16), mx.zeros((1, 64))
    calls = {
        "several": lambda f: several(f, [one, one], x[:1]),
        "heads": lambda f: fused(f, [one, one, one], x[:1], Around(norm=norm, turn=Turn(turn, 2 * SHAPE[0], 64))),
        "gate and up": lambda f: fused(f, [one, one], x[:1], Around(norm=norm, act="silu")),
        "gate and up of few": lambda f: fused(f, [one, one], x, Around(norm=norm, act="gelu")),
        "residual": lambda f: fused(f, [one], x[:1], Around(more=more[:1])),
        "experts": lambda f: fused(f, [stack, stack], x[:1], Around(act="silu", experts=Experts(named, 4))),
        "scored experts": lambda f: fused(f, [stack], x, Around(more=more[:1], experts=Experts(named, 4, scores))),
    }
    for what, call in calls.items():
        yield from _texts(f"{what} {name}", call)


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


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--toolkit", type=Path, default=folder(), help="folder with lib/ and include/")
    parser.add_argument("--arch", nargs="*", default=ARCHITECTURES)
    parser.add_argument("--only", default="", help="kernels whose name has this")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/")
    args = parser.parse_args()
    if args.toolkit is None:
        raise SystemExit(f"{MISSING}; or name its folder: --toolkit.")
    compiler, lines, failures, counts = Compiler(args.toolkit), [], 0, Counter[str]()
    for name, text in kernels():
        if args.only not in name:
            continue
        cells = []
        for arch in args.arch:
            cubin, log = compiler.compile(text, arch)
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
