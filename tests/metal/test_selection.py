"""Who multiplies on a Mac, played on a CPU: the device is said to be "metal", kernels run on the executor."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from localq.errors import UsageError
from localq.formats import FORMATS
from localq.kernels import own, reference, registry
from localq.kernels.checks import check_format, relative_error
from tests.metal.blocks import STEMS, ordinary
from tests.metal.cuda import CudaHarness
from tests.metal.harness import Harness


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCALQ_KERNELS", raising=False)
    monkeypatch.setattr(registry, "_VERDICTS", {})


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch, harness: Harness) -> None:
    made = harness.factory()
    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(own, "factory", lambda: made)


def test_the_choice_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    q4_k, affine = FORMATS["q4_k"], FORMATS["affine_4bit_g64"]
    assert [registry.choose("matmul", q4_k, where) for where in ("metal", "cuda", "cpu")] == [
        "own",
        "own",
        "reference",
    ]
    assert registry.choose("gather", q4_k, "metal") == "own"
    assert registry.choose("matmul", affine, "metal") == "native"
    monkeypatch.setenv("LOCALQ_KERNELS", "own")
    assert registry.choose("matmul", affine, "metal") == "own"  # which then has none, and MLX's is taken
    with pytest.raises(UsageError, match="run on GPUs"):
        registry.choose("matmul", q4_k, "cpu")


@pytest.mark.parametrize("stem", sorted(STEMS))
def test_every_operation_as_doctor_checks_it(mac: None, monkeypatch: pytest.MonkeyPatch, stem: str) -> None:
    monkeypatch.setenv("LOCALQ_KERNELS", "own")  # also where MLX's mode keeps the size
    rows = {check.op: check for check in check_format(STEMS[stem], mx.float32)}
    assert {op for op, check in rows.items() if check.implementation == "own"} == set(registry.OPS)
    assert all(check.ok for check in rows.values())
    one = registry.place(ordinary(stem, (16, 256)), mx.float32)
    assert one.ways == (f"own packed {stem}", "exact", 0.0)


def test_shapes_and_dtypes_of_the_operations(mac: None) -> None:
    t = ordinary("q6_k", (24, 256))
    w = t.dequantize().astype(np.float64)
    x = np.random.default_rng(0).standard_normal((2, 20, 256)).astype(np.float32)
    for dtype in (mx.float32, mx.bfloat16):
        one = registry.place(t, dtype)
        assert one.kernel is own
        for part in (x, x[:, :1], x[0, 0], x[:, :0]):  # many tokens, few, one vector, none
            y = one.matmul(mx.array(part).astype(dtype))
            assert y.dtype == dtype and y.shape == (*part.shape[:-1], 24)
            if part.size:
                assert relative_error(np.asarray(y.astype(mx.float32)), part @ w.T) < registry.tolerance(dtype, "metal")
        ids = mx.array([[3, 23], [3, 0]])
        rows = one.embedding(ids, dtype)
        assert mx.array_equal(rows, mx.array(t.dequantize())[ids].astype(dtype))


def test_a_wrong_kernel_is_replaced_with_one_warning(mac: None, monkeypatch: pytest.MonkeyPatch) -> None:
    right = own.factory()

    def wrong(**made):
        return right(**{**made, "header": made["header"].replace("- 32", "- 31")})

    monkeypatch.setattr(own, "factory", lambda: wrong)
    t = ordinary("q6_k", (16, 256))
    with pytest.warns(RuntimeWarning, match="own kernel for q6_k on metal disagrees") as warned:
        placed = [registry.place(t, mx.float32) for _ in range(2)]
    assert len(warned) == 1 and all(p.kernel is reference for p in placed)


def test_a_kernel_that_cannot_be_built_is_replaced_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    if mx.metal.is_available():
        pytest.skip("this machine has Metal: its kernels are built")
    monkeypatch.setattr(registry, "device", lambda: "metal")
    t = ordinary("q4_k", (16, 256))
    with pytest.warns(RuntimeWarning, match="own kernel for q4_k on metal does not run .*Metal") as warned:
        placed = [registry.place(t, mx.float32) for _ in range(2)]
    assert len(warned) == 1 and all(p.kernel is reference for p in placed)


def test_rows_of_zeros_are_multiplied_and_settle_nothing(mac: None) -> None:
    t = ordinary("q4_k", (16, 256))
    zeros = type(t)(t.format, t.shape, {"weight": np.zeros_like(t.parts["weight"])})
    one = registry.place(zeros, mx.float32)
    assert one.kernel is own and registry._VERDICTS == {}
    assert not np.asarray(one.matmul(mx.ones((1, 256)))).any()


def test_experts_and_heads(mac: None) -> None:
    """As SwitchGLU calls it, `[batch, tokens, 1, 1, in]` against `[batch, tokens, k]`, and both ways round."""
    experts = [ordinary("q4_k", (24, 256), seed) for seed in range(3)]
    w = np.stack([t.dequantize() for t in experts])
    stack = registry.place_stack(experts, mx.float32)
    assert stack.kernel is own
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 1, 1, 256)).astype(np.float32)
    ids = np.array([[[2, 1], [0, 0], [1, 2]], [[1, 1], [2, 0], [1, 2]]])
    got = np.asarray(stack.gather(mx.array(x), mx.array(ids), False))
    assert got.shape == (2, 3, 2, 1, 24)
    assert relative_error(got, np.einsum("btxyi,btkoi->btkxo", x, w[ids])) < 1e-5
    back = rng.standard_normal((2, 3, 1, 5, 24)).astype(np.float32)
    got = np.asarray(stack.gather(mx.array(back), mx.array(ids), False, transpose=False))
    assert relative_error(got, np.einsum("btxmo,btkoi->btkmi", back, w[ids])) < 1e-5
    heads = rng.standard_normal((2, 3, 4, 24)).astype(np.float32)
    got = np.asarray(stack.multi(mx.array(heads), False))
    assert relative_error(got, np.einsum("bhmo,hoi->bhmi", heads, w)) < 1e-5


def test_on_nvidia_the_translated_text_is_launched(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """From the factory MLX has for it, as `own` asks for it there; the harness stands in for the GPU."""
    monkeypatch.setattr(registry, "device", lambda: "cuda")
    monkeypatch.setattr(mx.cuda, "is_available", lambda: True)
    monkeypatch.setattr(mx.fast, "cuda_kernel", CudaHarness(harness).factory())
    t = ordinary("q4_k", (16, 256))
    one = registry.place(t, mx.float32)
    assert one.ways.way == "own packed q4_k" and not recwarn.list
    y = one.matmul(mx.ones((1, 256)))
    np.testing.assert_allclose(
        np.array(y)[0], t.dequantize().sum(axis=1), rtol=1e-4, atol=1e-4 * np.abs(np.array(y)).max()
    )
