"""FP-Quant by a writer made from the layout its source publishes; the package's own kernels run on GPUs alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from localq.errors import CheckpointError, UnsupportedError
from localq.formats import find
from localq.kernels import native
from tests.factories.tiny import build
from tests.packed.fixtures import loaded
from tests.packed.models import Packed, Packer, compare, write_both
from tests.packed.test_models_floats import SKIPPED, e2m1, ways

PROVES = {"fp_quant"}
CONFIG = {"quant_method": "fp_quant", "forward_method": "abs_max", "modules_to_not_convert": ["lm_head"]}
MX = {**CONFIG, "forward_dtype": "mxfp4", "hadamard_group_size": 32}
NV = {**CONFIG, "forward_dtype": "nvfp4", "hadamard_group_size": 16}


def hadamard(side: int) -> np.ndarray:
    """scipy.linalg.hadamard's, over sqrt(side): the sign of entry [i, j] is the parity of the bits of i & j."""
    bits = np.array([[(i & j).bit_count() % 2 for j in range(side)] for i in range(side)])
    return np.asarray((1 - 2 * bits) / np.sqrt(side)).astype(ml_dtypes.bfloat16)


def packer(group: int, side: int, whole: float) -> Packer:
    def pack(weight: np.ndarray) -> Packed:
        matrix = hadamard(side)
        turned = whole * (weight.reshape(len(weight), -1, side) @ matrix.astype(np.float32)).reshape(weight.shape)
        peaks = np.abs(turned).reshape(len(weight), -1, group).max(axis=-1) / 6
        if group == 32:
            stored = (np.ceil(np.log2(peaks)) + 127).astype(np.uint8)
            scales = np.exp2(stored.astype(np.float32) - 127)
        else:
            stored = peaks.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
            scales = stored.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
        wide = np.repeat(scales, group, axis=1)
        packed, values = e2m1(turned / wide)
        true = (values * wide).astype(np.float64) / whole
        effective = (true.reshape(len(weight), -1, side) @ matrix.astype(np.float64).T).reshape(weight.shape)
        one = np.array([whole], ml_dtypes.bfloat16)
        parts = {"qweight": packed, "scales": stored, "weight_global_scale": one, "act_global_scale": one}
        both = {"forward_hadamard_matrix": matrix, "backward_hadamard_matrix": matrix}
        return {**parts, **both}, effective.astype(np.float32)

    return pack


KINDS = {"mxfp4": (MX, packer(32, 32, 3)), "nvfp4": (NV, packer(16, 16, 10))}
WEIGHT = (np.random.default_rng(4).standard_normal((24, 128)) * 0.05).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_decoded_and_multiplied(tmp_path: Path, kind: str) -> None:
    config, pack = KINDS[kind]
    parts, want = pack(WEIGHT)
    t = loaded(tmp_path, dict(parts), config)
    assert find(t.format.name) is t.format
    weights, close = t.dequantize(), 3e-7 * np.abs(want).max()
    np.testing.assert_allclose(weights, want, atol=close, rtol=0)
    assert np.linalg.norm(weights - WEIGHT) < 0.15 * np.linalg.norm(WEIGHT)
    for index in (slice(0, 8), slice(3, 17), np.array([23, 0, 5, 5])):
        np.testing.assert_array_equal(t.rows(index).dequantize(), weights[index])
    joined = t.format.join_rows([t, t])
    assert joined is not None
    np.testing.assert_array_equal(joined.dequantize(), np.concatenate([weights, weights]))
    w, x = native.prepare(t, mx.float32), np.random.default_rng(1).standard_normal((5, 128)).astype(np.float32)
    assert w is not None
    there = x.astype(np.float64) @ want.T
    np.testing.assert_allclose(np.array(native.matmul(mx.array(x), w)), there, atol=2e-6 * np.abs(there).max(), rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_llama(tmp_path: Path, kind: str) -> None:
    config, pack = KINDS[kind]
    model, distance = compare(
        *write_both(build("llama"), tmp_path, lambda p, w: None if SKIPPED.search(p) else pack, config)
    )
    assert distance < 1e-4 and any(name.startswith(f"fp_quant_{kind}") for name in ways(model))


LOPSIDED = np.triu(np.ones((32, 32))).astype(ml_dtypes.bfloat16)
DAMAGED: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({"scales": None}, {}, CheckpointError, "lacks its part 'scales'"),
    ({"forward_hadamard_matrix": None}, {}, UnsupportedError, "no format of localq recognises .*up_proj.weight"),
    ({"qweight": None}, {}, UnsupportedError, "no format of localq recognises .*up_proj.weight"),
    ({"forward_hadamard_matrix": hadamard(64)}, {}, CheckpointError, "hadamard_group_size 32"),
    ({"forward_hadamard_matrix": LOPSIDED}, {}, CheckpointError, "is not symmetric"),
    ({"forward_hadamard_matrix": hadamard(32) * np.inf}, {}, CheckpointError, "1024 scales that make no weights"),
    ({"weight_global_scale": np.zeros(1, np.float32)}, {}, CheckpointError, "expected a scale other than zero"),
    ({"scales": np.full((24, 4), 255, np.uint8)}, {}, CheckpointError, "96 scales that make no weights"),
    ({}, {"forward_dtype": "nvfp4"}, CheckpointError, r"uint8 \(24, 4\); expected uint8 \(24, 8\)"),
    ({}, {"forward_dtype": "mxfp8"}, UnsupportedError, "forward_dtype is 'mxfp8'"),
    ({}, {"pseudoquantization": True}, UnsupportedError, "pseudoquantization: the weights are 16-bit floats"),
    ({}, {"store_master_weights": True}, UnsupportedError, "store_master_weights: the weights are 16-bit"),
]


@pytest.mark.parametrize(("change", "config", "error", "said"), DAMAGED)
def test_damage_is_told(
    tmp_path: Path, change: dict[str, Any], config: dict[str, Any], error: type[Exception], said: str
) -> None:
    parts, _ = KINDS["mxfp4"][1](WEIGHT)
    with pytest.raises(error, match=said):
        loaded(tmp_path, {**parts, **change}, {**MX, **config})
