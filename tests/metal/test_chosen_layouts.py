"""What a Mac would take for tensors of formats other than ggml's: which struct, with what around it, or none."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from localq.formats.base import PackedTensor
from localq.formats.gptq import GPTQ
from localq.kernels import arrays, own, registry
from localq.kernels.checks import check_format, random_tensor
from tests.metal.harness import Harness
from tests.metal.test_layouts import ROTATED, drawn, form_of


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch, harness: Harness) -> None:
    made = harness.factory()
    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(registry, "_VERDICTS", {})
    monkeypatch.setattr(own, "factory", lambda: made)


CHOSEN = ("fp8_e4m3_block128_inv", "hqq_4bit_g64_axis0", "quip_3bit")  # a way each: plain, own stem, rotated


@pytest.mark.parametrize("name", CHOSEN)
def test_a_mac_takes_them(mac: None, name: str) -> None:
    """Every operation, stacks too, as `doctor` checks it; the load report names the way."""
    form = form_of(name)
    assert [registry.choose(op, form, "metal") for op in registry.OPS] == ["own"] * len(registry.OPS)
    rows = {check.op: check for check in check_format(form, mx.float32)}
    assert {check.implementation for check in rows.values()} == {"own"}
    assert all(check.ok for check in rows.values()), rows
    way = registry.place(drawn(name), mx.float32).ways.way
    assert way.startswith("own packed ") and ("rotated" in way) == (form.kernel in ROTATED)


@pytest.mark.parametrize(
    "name", ["ct_int3_g16_rotated_in64", "fp8_e4m3_block128_inv_rotated_out128", "ct_int3_g16_rotated_in32own_out8own"]
)
def test_formats_between_rotations_run_by_their_own_kernels(mac: None, name: str) -> None:
    """What a config has turned at run time, by Sylvester's matrices or stored ones; alone and in a stack."""
    form, rng = form_of(name), np.random.default_rng(0)
    each = [form.sample((128, 256), rng) for _ in range(2)]
    for part in form.stored:
        each[1].parts[part] = each[0].parts[part]  # one for all experts
    x = rng.standard_normal((2, 5, 256)).astype(np.float32)
    one, w = registry.place(each[0], mx.float32), [t.dequantize() for t in each]
    assert one.kernel is own and "rotated" in one.ways.way and one.shape == (128, 256)
    for tokens in (1, 5):
        want = x[0, :tokens] @ w[0].T
        assert np.abs(np.array(one.matmul(mx.array(x[0, :tokens]))) - want).max() < 1e-5 * np.abs(want).max()
    rows = np.array(one.embedding(mx.array([3, 0]), mx.float32))
    assert np.abs(rows - w[0][[3, 0]]).max() < 1e-5 * np.abs(w[0]).max()
    back = x[0, :2, :128] @ w[0]
    assert np.abs(np.array(one.transposed(mx.array(x[0, :2, :128]))) - back).max() < 1e-5 * np.abs(back).max()
    stack = registry.place_stack(each, mx.float32)
    assert stack.kernel is own
    got = np.array(stack.gather(mx.array(x[:, None, :3]), mx.array([[1], [0]]), False))
    want = np.stack([x[i, :3] @ w[1 - i].T for i in range(2)])[:, None]
    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()
    if form.stored:
        each[1] = form.sample((128, 256), rng)
        assert registry.place_stack(each, mx.float32).kernel is not own  # a matrix for each is not held


def test_scattered_groups_are_orders_of_the_inputs(mac: None) -> None:
    """GPTQ's g_idx: one matrix, and experts each with an order of its own."""
    rng = np.random.default_rng(0)
    each = []
    for _ in range(2):
        t = random_tensor(GPTQ.of(3, 16, "_v2", False), (24, 256), rng)
        order = rng.permutation(np.arange(256) // 16).astype(np.int32)
        each.append(PackedTensor(t.format, t.shape, {**t.parts, "g_idx": order}))
    x = rng.standard_normal((2, 20, 256)).astype(np.float32)
    one = registry.place(each[0], mx.float32)
    assert one.kernel is own and mx.array_equal(
        one.embedding(mx.array([3, 0]), mx.float32), mx.array(each[0].dequantize()[[3, 0]])
    )
    for tokens in (1, 20):
        want = x[0, :tokens] @ each[0].dequantize().T
        assert np.abs(np.array(one.matmul(mx.array(x[0, :tokens]))) - want).max() < 1e-5 * np.abs(want).max()
    stack = registry.place_stack(each, mx.float32)
    assert stack.kernel is own
    ids = np.array([[1], [0]])
    got = np.array(stack.gather(mx.array(x[:, None, :3]), mx.array(ids), False))
    want = np.stack([x[i, :3] @ each[ids[i, 0]].dequantize().T for i in range(2)])[:, None]
    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


def test_a_tensor_that_its_usual_mode_does_not_hold(mac: None) -> None:
    """MLX's modes have no stacks of matrices with orders of their own, and no rows of 48 8-bit floats."""
    rng = np.random.default_rng(0)
    each = []
    for _ in range(2):
        t = random_tensor(GPTQ.of(4, 32, "_v2"), (24, 64), rng)
        order = rng.permutation(np.arange(64) // 32).astype(np.int32)
        each.append(PackedTensor(t.format, t.shape, {**t.parts, "g_idx": order}))
    assert registry.place(each[0], mx.float32).ways.way.startswith("native")
    assert registry.place_stack(each, mx.float32).ways.way == "own packed integers"
    assert registry.place(drawn("fp8_e4m3_channel", 8, 48), mx.float32).ways.way == "own packed fp8"


def test_what_a_struct_has_no_place_for(mac: None) -> None:
    rng = np.random.default_rng(0)
    uneven = random_tensor(GPTQ.of(3, 16, "_v2"), (24, 256), rng)
    uneven = PackedTensor(uneven.format, uneven.shape, {**uneven.parts, "g_idx": np.zeros(256, np.int32)})
    for t in (uneven, drawn("fp8_e4m3_block24"), drawn("fp8_e5m2_tensor", 8, 200), drawn("bnb_nf4_g8")):
        assert arrays.inputs(t) is None
        assert registry.place(t, mx.float32).ways.way == "reference"


def test_pieces_of_a_fused_matrix(mac: None, tmp_path: Path) -> None:
    """QuIP# rotates Q, K and V as one matrix: each piece is right, and the matrix is in memory once."""
    rng = np.random.default_rng(0)
    whole = form_of("quip_2bit").sample((192, 128), rng)
    whole.parts["Qidxs"].tofile(tmp_path / "codes")
    codes = np.memmap(tmp_path / "codes", np.int64, "r", shape=whole.parts["Qidxs"].shape)
    factors, placed, x = np.array([0.5, 1, 2], np.float16), [], rng.standard_normal((3, 128)).astype(np.float32)
    for i in range(3):
        form = form_of(f"quip_2bit_{64 * i}to{64 * i + 64}of192_{i}of3")
        t = PackedTensor(form, (64, 128), {**whole.parts, "Qidxs": codes, "fuse_scales": factors})
        placed.append(registry.place(t, mx.float32))
        want = t.dequantize()
        for rows in (1, 3):
            got = np.array(placed[-1].matmul(mx.array(x[:rows])))
            assert np.abs(got - x[:rows] @ want.T).max() < 1e-5 * np.abs(want).max() * 128
        back = np.array(placed[-1].transposed(mx.array(x[:, :64])))
        assert np.abs(back - x[:, :64] @ want).max() < 1e-5 * np.abs(want).max() * 64
    assert {id(one.handle.packed) for one in placed} == {id(placed[0].handle.packed)}
    assert placed[0].kernel is own
