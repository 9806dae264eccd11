"""Experts stored `[n, in, out]`: the gathered product the other way round, against float64 on the decoded weights."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from localq.formats import FORMATS
from localq.formats.base import PackedTensor
from localq.kernels import native, reference, registry
from localq.kernels.checks import random_tensor


@pytest.mark.parametrize("name", ["f32", "bf16", "affine_4bit_g64", "nvfp4", "mxfp8", "q4_0", "q6_k"])
@pytest.mark.parametrize("tokens", [1, 20])
def test_gather_as_stored(name: str, tokens: int) -> None:
    rng = np.random.default_rng(5)
    experts: list[PackedTensor] = [random_tensor(FORMATS[name], (64, 256), rng) for _ in range(3)]
    weights = np.stack([t.dequantize() for t in experts]).astype(np.float64)
    x = rng.standard_normal((tokens, 1, 1, 64)).astype(np.float32)
    ids = rng.integers(0, 3, (tokens, 2)).astype(np.uint32)
    want = x.astype(np.float64) @ weights[ids]
    bound = 66 * 2.0**-24 * (np.abs(x.astype(np.float64)) @ np.abs(weights[ids])) + 1e-30
    kernels = [reference]
    if experts[0].format.family != "ggml" and native.holds(experts[0]):
        kernels.append(native)
    for kernel in kernels:
        handle = kernel.prepare_stack(experts, mx.float32)
        got = np.asarray(kernel.gather(mx.array(x), handle, mx.array(ids), False, False))
        assert got.shape == (tokens, 2, 1, 256)
        assert (np.abs(got - want) / bound).max() <= 1, kernel.NAME
    placed = registry.place_stack(experts, mx.float32).gather(mx.array(x), mx.array(ids), False, transpose=False)
    assert (np.abs(np.asarray(placed) - want) / bound).max() <= 1
