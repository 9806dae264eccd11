"""What the mutants of a struct are tried on: the rows and vectors of its tests, decoded by the oracles of those."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import ml_dtypes
import mlx.core as mx
import numpy as np

from localq.formats.base import PackedTensor
from localq.formats.fp8 import FP8
from localq_metal.dequantize import dequantize
from localq_metal.gather import gather
from localq_metal.source import Packed
from tests.metal.blocks import STEMS, every_kind, minima, oracle, ordinary, packed
from tests.metal.recorded import Trial, recorded
from tests.metal.test_layouts import NAMES, between, drawn, ends_of_mxfp6, held, nan_among_sparse
from tests.metal.test_qmv import SINGLE_STEPS, single

EXPERTS = [1, 0, 1]
SIZES = (("bnb_fp4_g64_double", 32, 512), ("bnb_fp4_g64_double", 257, 64))  # 256 and 257 scales a matrix


class Case(NamedTuple):
    """Weights decoded, and products with them, of one tensor or a stack."""

    name: str
    decoding: Trial
    products: tuple[Trial, ...]


def cases(stem: str) -> Iterator[Case]:
    """Every case of a struct; those of a family differ in its constants and in the dtypes of its arrays."""
    if stem in STEMS:
        t, two = every_kind(stem, 768), [ordinary(stem, (9, 768), seed) for seed in range(2)]
        slack = [np.abs(minima(one)) for one in two]
        products = _products(packed(*two), [oracle(one) for one in two], slack)
        yield Case(stem, _decoding(packed(t), oracle(t)), products)
        return
    for name, rows, columns in [*((name, 0, 768) for name in NAMES), *SIZES]:
        two = [drawn(name, rows, columns, seed) for seed in range(2)]
        stack = held(*two)
        if stack.stem == stem:
            weights = [between(t) for t in two]
            yield Case(name, _decoding(stack, np.stack(weights)), _products(stack, weights, [0.0, 0.0]))
    if stem == "sparse":
        t = nan_among_sparse()
        yield Case("NaN among sparse", _decoding(held(t), t.dequantize()), ())
    for name in ("mxfp6_e3m2", "mxfp6_e2m3") if stem == "mxfp6" else ():
        t = ends_of_mxfp6(name)
        yield Case(f"{name} ends", _decoding(held(t), t.dequantize()), ())
    if stem == "fp8":
        for t in _codes_of_fp8():
            one = t.dequantize()
            yield Case(t.format.name, _decoding(held(t, t), np.stack([one, one])), ())


def _decoding(one: Packed, want: np.ndarray) -> Trial:
    return Trial(recorded(lambda f: dequantize(f, one, mx.float32)), want)


def _products(stack: Packed, weights: Sequence[np.ndarray], slack: Sequence[np.ndarray | float]) -> tuple[Trial, ...]:
    """Three vectors, each with a matrix of the stack, and single weights; bounds are those of test_qmv."""
    width = stack.shape[-1]
    x = np.random.default_rng(3).standard_normal((len(EXPERTS), width)).astype(np.float32)
    size = [np.abs(w).astype(np.float64) + 2 * s for w, s in zip(weights, slack, strict=True)]
    want = np.stack([weights[e].astype(np.float64) @ v for v, e in zip(x.astype(np.float64), EXPERTS, strict=True)])
    bound = np.stack([size[e] @ np.abs(v) for v, e in zip(x.astype(np.float64), EXPERTS, strict=True)])
    dense = recorded(lambda f: gather(f, stack, mx.array(x), mx.array(EXPERTS)))
    columns = single(width)
    picks = np.eye(width, dtype=np.float32)[columns]
    one = recorded(lambda f: gather(f, stack, mx.array(picks), mx.array([1] * len(columns))))
    few = SINGLE_STEPS * 2.0**-24 * size[1][:, columns].T
    return (
        Trial(dense, want, (width + 1) * 2.0**-24 * bound + 2.0**-126),
        Trial(one, weights[1].astype(np.float64)[:, columns].T, few + 2.0**-126),
    )


def _codes_of_fp8() -> Iterator[PackedTensor]:
    """Every code, blocks cut off at both ends."""
    for code, kind in (("e4m3", ml_dtypes.float8_e4m3fn), ("e5m2", ml_dtypes.float8_e5m2)):
        codes = np.resize(np.arange(256, dtype=np.uint8), (40, 80)).view(kind)
        scales = np.array([[1, 2.5, 1e-3], [7, -3, 0.1]], np.float32)
        yield PackedTensor(FP8.of(code, "block", 32), (40, 80), {"weight": codes, "weight_scale": scales})
