"""`localq bench --tune`: which shape of a product is fastest on this device, format by format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from localq.errors import UsageError
from localq.formats.base import Format, PackedTensor
from localq.kernels import own, registry, tuning
from localq.kernels.checks import random_tensor
from localq_metal.qmv import Shape
from localq_metal.source import Packed

OUT, IN, DRAWN = 4096, 4096, 64  # 9 MB in q4_k; 64 rows are drawn and repeated


class Tuned(NamedTuple):
    """One format: the fastest shape, its seconds for one product, and those of the shape used until now."""

    stem: str
    shape: Shape
    seconds: float
    before: float


def tune(formats: Iterable[type[Format]], size: tuple[int, int] = (OUT, IN)) -> Iterator[Tuned]:
    """Time every candidate for every format that localq's own kernels multiply here, and keep the fastest.

    Raises:
        UsageError: localq has no kernels of its own for this device.
    """
    where = registry.device()
    served = [fmt for fmt in formats if own.serves("matmul", fmt) and registry.choose("matmul", fmt, where) == "own"]
    if not served:
        raise UsageError(
            f"There is nothing to tune: MLX computes on '{where}' here, where localq has no kernels of its own.",
            "Run it on the machine that will run the model: a Mac with Apple silicon.",
        )
    shapes: dict[str, Shape] = {}
    for fmt in served:
        weights = _weights(fmt, size)
        if weights is None or weights[0].stem in shapes:
            continue
        stem = weights[0].stem
        x = mx.random.normal((1, size[1])).astype(registry.activation_dtype(None))
        mx.eval(x)
        usual = tuning.shape(stem)
        times = tuning.fastest(own.factory(), weights, x, dict.fromkeys((usual, *tuning.CANDIDATES)))
        if not times:
            continue
        best = next(iter(times))
        shapes[stem] = best
        yield Tuned(stem, best, times[best], times.get(usual, float("inf")))
    tuning.save(shapes)


def _weights(fmt: type[Format], size: tuple[int, int]) -> list[Packed] | None:
    """Copies of one random matrix, so many that no cache of the device holds them all."""
    rows = min(DRAWN, size[0])
    few = random_tensor(fmt, (rows, size[1]), np.random.default_rng(0))
    held = own.prepare(few, registry.activation_dtype(None))
    if held is None or any(part.shape[0] != rows for part in few.parts.values()):
        return None  # of these formats a part is no row's own; they use the shape of the device
    whole = PackedTensor(
        fmt, size, {n: np.tile(p, (size[0] // rows, *[1] * (p.ndim - 1))) for n, p in few.parts.items()}
    )
    copies = [own.prepare(whole, registry.activation_dtype(None)) for _ in range(tuning.COPIES)]
    return [copy.packed for copy in copies if copy is not None]
