"""ParoQuant's layers against gptqmodel's decoder and reference rotation (tools/fixtures/paroquant_layers.py).

A rotation is no product of a few bits: the peer's matrix is matched within float32's rounding, not bit for bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.formats import find
from localq.kernels import native
from tests.factories.tiny import build
from tests.packed.fixtures import Variant, read, variants, write
from tests.packed.models import Packed, awq, compare, write_both
from tests.packed.test_models_floats import SKIPPED, ways

PROVES = {"paroquant"}
VARIANTS = variants("paroquant.safetensors")
FORMS = {"g128": "paroquant_4bit_g128_r8", "g32": "paroquant_4bit_g32_r3"}


def parts_of(variant: Variant, **change: Any) -> dict[str, np.ndarray]:
    return {n: a for n, a in {**variant.parts, **change}.items() if a is not None and n != "effective"}


@pytest.mark.parametrize("name", VARIANTS)
def test_decoded_as_gptqmodel_multiplies(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    t = read(tmp_path, parts_of(variant), variant.config)
    assert t.format.name == FORMS[name] and find(FORMS[name]) is t.format and t.shape == variant.shape
    want, weights = variant.parts["effective"], t.dequantize()
    np.testing.assert_allclose(weights, want, atol=2e-7 * np.abs(want).max(), rtol=0)
    for index in (slice(0, 8), slice(3, 11), np.array([15, 0, 5, 5])):
        np.testing.assert_array_equal(t.rows(index).dequantize(), weights[index])
    joined = t.format.join_rows([t, t])
    assert joined is not None
    np.testing.assert_array_equal(joined.dequantize(), np.concatenate([weights, weights]))


@pytest.mark.parametrize("name", VARIANTS)
def test_one_matrix_a_group_in_mlx(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    t = read(tmp_path, parts_of(variant), variant.config)
    w = native.prepare(t, mx.float32)
    assert w is not None
    x = np.random.default_rng(1).standard_normal((3, 5, t.shape[1])).astype(np.float32)
    want = x.astype(np.float64) @ variant.parts["effective"].T
    np.testing.assert_allclose(np.array(native.matmul(mx.array(x), w)), want, atol=2e-6 * np.abs(want).max(), rtol=0)
    back = want.astype(np.float32)
    there = back.astype(np.float64) @ variant.parts["effective"]
    got = np.array(native.transposed(mx.array(back), w))
    np.testing.assert_allclose(got, there, atol=2e-6 * np.abs(there).max(), rtol=0)


def test_scales_of_one_axis(tmp_path: Path) -> None:
    variant = VARIANTS["g32"]
    flat = parts_of(variant, channel_scales=variant.parts["channel_scales"].reshape(-1))
    (tmp_path / "flat").mkdir()
    (tmp_path / "usual").mkdir()
    t, usual = (
        read(tmp_path / "flat", flat, variant.config),
        read(tmp_path / "usual", parts_of(variant), variant.config),
    )
    assert find(t.format.name) is t.format
    np.testing.assert_array_equal(t.dequantize(), usual.dequantize())


def paro(weight: np.ndarray) -> Packed:
    """Random rotations as a matrix of the whole row, written out entry by entry."""
    rng, (_, width), group, steps = np.random.default_rng(len(weight)), weight.shape, 32, 3
    pairs = np.stack([np.concatenate([rng.permutation(group) for _ in range(width // group)]) for _ in range(steps)])
    theta = rng.uniform(-3, 3, (steps, width // 2)).astype(np.float16)
    by = np.asarray(rng.uniform(0.5, 2, width), np.float16)
    turn = np.eye(width) * by[:, None]
    for k in range(steps):
        step = np.zeros((width, width))
        for n in range(width // 2):
            start = 2 * n // group * group
            i, j, angle = start + pairs[k, 2 * n], start + pairs[k, 2 * n + 1], float(theta[k, n])
            step[[i, j, j, i], [i, j, i, j]] = np.cos(angle), np.cos(angle), np.sin(angle), -np.sin(angle)
        turn = turn @ step
    parts, values = awq(group)((weight @ np.linalg.inv(turn).T).astype(np.float32))
    own = {"pairs": pairs.astype(np.int16), "theta": theta, "channel_scales": by[None, :]}
    return {**parts, **own}, np.asarray(values @ turn.T, np.float32)


def test_llama(tmp_path: Path) -> None:
    config = {"quant_method": "paroquant", "bits": 4, "group_size": 32, "krot": 3}
    model, distance = compare(
        *write_both(build("llama"), tmp_path, lambda p, w: None if SKIPPED.search(p) else paro, config)
    )
    assert distance < 1e-4 and "paroquant_4bit_g32_r3" in ways(model)


TWICE = np.zeros((3, 64), np.int16)
DAMAGED: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({"pairs": TWICE}, {}, CheckpointError, "Step 0 of pairs does not name every input of group 0 once"),
    ({"theta": np.full((3, 32), np.inf, np.float16)}, {}, CheckpointError, "angles of theta are no finite numbers"),
    ({"theta": np.zeros((3, 64), np.float16)}, {}, CheckpointError, r"\(3, 64\); expected .* \(3, 32\)"),
    ({"channel_scales": np.zeros((1, 64), np.float16)}, {}, CheckpointError, "64 scales that make no weights"),
    ({"channel_scales": None}, {}, CheckpointError, "lacks its part 'channel_scales'"),
    ({}, {"krot": 8}, CheckpointError, "krot 8; theta has 3 steps"),
    ({}, {"group_size": 64}, CheckpointError, r"expected int32 \(1, 5\)"),
    ({}, {"bits": 3}, UnsupportedError, "bits 3; localq knows 4"),
    ({"theta": None, "pairs": None, "channel_scales": None}, {}, UnsupportedError, "without a rotation of its own"),
]


@pytest.mark.parametrize(("change", "config", "error", "said"), DAMAGED)
def test_damage_is_told(
    tmp_path: Path, change: dict[str, Any], config: dict[str, Any], error: type[Exception], said: str
) -> None:
    variant = VARIANTS["g32"]
    with pytest.raises(error, match=said):
        checkpoint = open_checkpoint(write(tmp_path, parts_of(variant, **change), {**variant.config, **config}))
        if checkpoint.unsupported:
            raise UnsupportedError(checkpoint.unsupported)
        checkpoint["model.layers.0.mlp.up_proj.weight"]
