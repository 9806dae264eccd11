"""Every kernel this machine would use, compared with float64 arithmetic on a small random tensor of each format.

`localq doctor --kernels` prints what `check_all` returns. Tensors are drawn, not read: a stored code of every kind
turns up, and shapes are those of small real layers (fewer than 8 elements would take another path on a GPU).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localq.formats.base import Format, GGMLFormat, PackedTensor
from localq.kernels import registry

OUT, IN, EXPERTS = 128, 512, 3
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class KernelCheck:
    """One (op, format) on this device: who computes it and how far it is from float64.

    `error` is the rms of the difference over the rms of the result, `limit` what counts as right.
    """

    op: str
    format: str
    implementation: str
    device: str
    error: float
    limit: float

    @property
    def ok(self) -> bool:
        """Whether the kernel may be trusted."""
        return self.error <= self.limit


def check_all(formats: Iterable[type[Format]] | None = None, dtype: mx.Dtype | None = None) -> Iterator[KernelCheck]:
    """Check every op of every format (default: the whole registry) with activations of `dtype` (default: as run)."""
    from localq.formats import FORMATS

    dtype = dtype or registry.activation_dtype(None)
    for fmt in FORMATS.values() if formats is None else formats:
        for example in fmt.examples():
            yield from check_format(example, dtype)


def check_format(fmt: type[Format], dtype: mx.Dtype) -> Iterator[KernelCheck]:
    """Check every op of one format."""
    rng = np.random.default_rng(1)
    experts = [random_tensor(fmt, (OUT, IN), rng) for _ in range(EXPERTS)]
    one, stack = registry.place(experts[0], dtype), registry.place_stack(experts, dtype)
    weights = np.stack([t.dequantize() for t in experts]).astype(np.float64)
    wide, tall = _draw(rng, (5, IN), dtype), _draw(rng, (5, OUT), dtype)
    heads = _draw(rng, (EXPERTS, 5, IN), dtype)
    ids, chosen = mx.array([3, 0, 95, 3]), mx.array([2, 0, 0, 1, 2])
    ops: dict[str, tuple[Callable[[], mx.array], NDArray[np.float64]]] = {
        "matmul": (lambda: one.matmul(wide), _floats(wide) @ weights[0].T),
        "transposed": (lambda: one.transposed(tall), _floats(tall) @ weights[0]),
        "embedding": (lambda: one.embedding(ids, dtype), weights[0][np.asarray(ids)]),
        "gather": (
            lambda: stack.gather(wide[:, None], chosen, False),
            np.einsum("ti,toi->to", _floats(wide), weights[np.asarray(chosen)])[:, None],
        ),
        "multi": (lambda: stack.multi(heads, True), np.einsum("hti,hoi->hto", _floats(heads), weights)),
    }
    for op, (run, want) in ops.items():
        name = (one if op in ("matmul", "transposed", "embedding") else stack).kernel.NAME
        error = relative_error(_floats(run()), want)
        yield KernelCheck(op, fmt.name, name, registry.device(), error, registry.tolerance(dtype, registry.device()))


def relative_error(got: NDArray[np.float64], want: NDArray[np.float64]) -> float:
    """rms of the difference over the rms of `want`; infinite where shapes differ or a value is no number."""
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.sqrt(np.mean((got - want) ** 2)) / max(float(np.sqrt(np.mean(want**2))), 1e-300))


def random_tensor(fmt: type[Format], shape: tuple[int, int], rng: np.random.Generator) -> PackedTensor:
    """A tensor of any format, its stored codes drawn at random and its scales kept ordinary.

    MLX's formats are packed by MLX itself, floats by numpy; ggml blocks are random bytes, drawn again until they
    decode to weights between 1e-6 and 1e4 (their scales are 16-bit floats somewhere inside the block).
    """
    if issubclass(fmt, GGMLFormat):
        return _random_blocks(fmt, shape, rng)
    weights = rng.standard_normal(shape).astype(np.float32)
    if fmt.family == "mlx":
        return _packed_by_mlx(fmt, weights)
    return fmt.sample(shape, rng)


def _random_blocks(fmt: type[GGMLFormat], shape: tuple[int, int], rng: np.random.Generator) -> PackedTensor:
    count = shape[0] * shape[1] // fmt.block_size
    blocks = np.empty((count, fmt.block_bytes), np.uint8)
    todo = np.arange(count)
    while len(todo):
        blocks[todo] = rng.integers(0, 256, (len(todo), fmt.block_bytes), np.uint8)
        with np.errstate(all="ignore"):
            out = np.empty((len(todo), fmt.block_size), np.float32)
            fmt.decode(blocks[todo], out)
            peak = np.abs(out).max(axis=1)
        todo = todo[~((peak > 1e-6) & (peak < 1e4))]
    extra = {n: rng.uniform(0.5, 2, p.shape) for n, p in fmt.layout(shape).items() if n != "weight"}
    parts = {n: np.asarray(p, np.float32) for n, p in extra.items()}  # a second scale per matrix
    return PackedTensor(fmt, shape, {"weight": blocks.reshape(shape[0], -1), **parts})


def _packed_by_mlx(fmt: type[Format], weights: Floats) -> PackedTensor:
    mode, bits, group = fmt.settings()  # type: ignore[attr-defined]  # the family "mlx" has it
    arrays = mx.quantize(mx.array(weights), group, bits, mode=mode)
    parts = dict(zip(("weight", "scales", "biases"), (np.array(a) for a in arrays), strict=False))
    return PackedTensor(fmt, weights.shape, parts)


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: mx.Dtype) -> mx.array:
    return mx.array(rng.standard_normal(shape).astype(np.float32)).astype(dtype)


def _floats(x: mx.array) -> NDArray[np.float64]:
    return np.asarray(x.astype(mx.float32)).astype(np.float64)
