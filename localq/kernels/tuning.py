"""How products are cut up on this device: measured by `localq bench --tune` where that was run, else from a table.

The table has what published kernels of the same kind use and no measurement of localq's: MLX's `qmv` has 4 rows and 2
simdgroups on every Apple chip; llama.cpp's K-quants take 2 rows, Q5_K one (ggml-metal, N_R0). How wide loads are is no
choice of the device's: a decode struct loads as wide as its blocks are aligned.

Measured shapes lie in the cache directory, one file per device name and MLX version, written beside and renamed.
"""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from localq.kernels import costs
from localq.paths import cache_dir
from localq_metal.qmv import Shape, qmv
from localq_metal.source import MAX_THREADS, Factory, Packed

FAMILIES: dict[str, dict[str, Shape]] = {  # device -> stem, or "" -> shape
    "Apple": {"": Shape(4, 2), "q4_k": Shape(2, 2), "q5_k": Shape(1, 2), "q6_k": Shape(2, 2)},
    "NVIDIA": {"": Shape(2, 4)},
}
CANDIDATES = tuple(Shape(r, s) for r in (1, 2, 4, 8) for s in (1, 2, 4, 8) if 32 * s <= MAX_THREADS)
ROUNDS, COPIES, BYTES = 9, 8, 32 << 20  # timings keep the best; copies of the weights, so that no cache serves them
Clock = Callable[[], float]
_VERSION: str = version("mlx")


@cache
def device_name() -> str:
    """As MLX calls the GPU, "" where there is none."""
    if mx.default_device() == mx.cpu:
        return ""
    name = str(mx.device_info().get("device_name", ""))
    return f"NVIDIA {name}" if not mx.metal.is_available() and not name.startswith("NVIDIA") else name


def balance() -> costs.Balance:
    """Of this device; CUDA has no tiles of simdgroups, whatever the card is called."""
    return costs.FAMILIES["NVIDIA"] if mx.cuda.is_available() else costs.balance(device_name())


@cache
def shape(stem: str) -> Shape:
    """For products with one vector, or a few, of a format on this device."""
    found = measured().get(stem)
    if found is not None:
        return found
    name = device_name()
    family = next((shapes for prefix, shapes in FAMILIES.items() if name.startswith(prefix)), {})
    return family.get(stem) or family.get("") or Shape()


def path(name: str | None = None) -> Path:
    """Where the shapes of a device are kept, by default of this one."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", f"{name or device_name() or 'none'} mlx {_VERSION}")
    return Path(cache_dir()) / "tuning" / f"{words}.json"


@cache
def measured() -> dict[str, Shape]:
    """Shapes that `localq bench --tune` found here; none, and a warning, where the file is damaged."""
    file = path()
    if not file.is_file():
        return {}
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return {str(stem): Shape(int(rows), int(groups)) for stem, (rows, groups) in stored["shapes"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        warnings.warn(f"'{file}' is no table of kernel shapes ({error}); ignored.", RuntimeWarning, stacklevel=2)
        return {}


def save(shapes: dict[str, Shape]) -> Path:
    """Add to what is kept for this device; the file is there whole or as it was before."""
    file = path()
    file.parent.mkdir(parents=True, exist_ok=True)
    every = {**measured(), **shapes}
    table = {
        "device": device_name(),
        "mlx": _VERSION,
        "shapes": {k: [s.rows, s.simdgroups] for k, s in sorted(every.items())},
    }
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    beside.write_text(json.dumps(table, indent=1), encoding="utf-8")
    os.replace(beside, file)
    measured.cache_clear()
    shape.cache_clear()
    return file


def fastest(
    factory: Factory,
    weights: list[Packed],
    x: mx.array,
    candidates: Iterable[Shape] = CANDIDATES,
    clock: Clock = time.perf_counter,
) -> dict[Shape, float]:
    """Seconds of one product with each of `weights` for every shape that the device takes, the fastest first.

    All shapes are timed in turn, `ROUNDS` times, and keep their best. A shape that is refused (a threadgroup too large
    for the registers a kernel needs) is left out.
    """
    best: dict[Shape, float] = {}
    for candidate in candidates:
        try:
            mx.eval(qmv(factory, weights[0], x, candidate))
        except (RuntimeError, ValueError):
            continue
        best[candidate] = float("inf")
    for _ in range(ROUNDS):
        for candidate in best:
            start = clock()
            mx.eval([qmv(factory, w, x, candidate) for w in weights])
            best[candidate] = min(best[candidate], (clock() - start) / len(weights))
    return dict(sorted(best.items(), key=lambda item: item[1]))
