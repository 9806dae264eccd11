"""Every format x every op x every implementation that holds it, against float64 arithmetic on the decoded weights.

The weights' own decoding has its oracle in tests/formats; here `dequantize` is the truth and the products are tried.
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from localq.errors import UsageError
from localq.formats import FORMATS
from localq.kernels import native, reference, registry
from localq.kernels.checks import check_all, check_format, random_tensor

FLOAT32_UNIT = 2.0**-24
EXAMPLES = {fmt.name: fmt for family in FORMATS.values() for fmt in family.examples()}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.delenv("LOCALQ_KERNELS", raising=False)
    monkeypatch.setattr(registry, "_VERDICTS", {})


def _bound(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Of a float32 dot product of n terms, any order: n u |x|.|w| (Higham, Accuracy and Stability, 3.1)."""
    return (x.shape[-1] + 2) * FLOAT32_UNIT * (np.abs(x) @ np.abs(w).T) + 1e-30


def _implementations(t):
    yield reference
    if t.format.family != "ggml" and native.holds(t) and native.prepare(t, mx.float32) is not None:
        yield native


@pytest.mark.parametrize("name", sorted(EXAMPLES))
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_matmul_stays_within_float32_rounding_of_float64(name, rows):
    rng = np.random.default_rng(3)
    t = random_tensor(EXAMPLES[name], (128, 512), rng)  # codebooks come in tiles of 128 rows
    w = t.dequantize().astype(np.float64)
    x = rng.standard_normal((rows, 512)).astype(np.float32)
    want = x.astype(np.float64) @ w.T
    for kernel in _implementations(t):
        got = np.asarray(kernel.matmul(mx.array(x), kernel.prepare(t, mx.float32)))
        worst = (np.abs(got - want) / _bound(x.astype(np.float64), w)).max()
        assert worst <= 1, f"{kernel.NAME}: {worst:.2f} of the bound"


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_op_of_every_format_agrees_with_float64(name):
    checks = list(check_format(EXAMPLES[name], mx.float32))
    assert [c.op for c in checks] == list(registry.OPS)
    assert [c for c in checks if not c.ok] == []


@pytest.mark.parametrize("name", ["f32", "bf16", "affine_4bit_g64", "nvfp4", "q4_0"])
def test_half_precision_activations_come_back_in_their_own_dtype(name):
    t = random_tensor(FORMATS[name], (40, 512), np.random.default_rng(3))
    for dtype in (mx.float16, mx.bfloat16):
        for kernel in _implementations(t):
            w = kernel.prepare(t, dtype)
            assert kernel.matmul(mx.ones((2, 512), dtype), w).dtype == dtype
            assert kernel.transposed(mx.ones((2, 40), dtype), w).dtype == dtype
            assert kernel.embedding(mx.array([0, 1]), w, dtype).dtype == dtype


def test_scales_keep_float32_only_where_a_cast_would_lose():
    rng = np.random.default_rng(0)
    t = random_tensor(FORMATS["affine_4bit_g64"], (16, 128), rng)
    assert native.prepare(t, mx.bfloat16).scales.dtype == mx.float32
    rounded = {
        n: np.array(mx.array(p).astype(mx.bfloat16).astype(mx.float32)) for n, p in t.parts.items() if n != "weight"
    }
    exact = type(t)(t.format, t.shape, {**t.parts, **rounded})
    assert native.prepare(exact, mx.bfloat16).scales.dtype == mx.bfloat16


def test_a_left_over_scale_multiplies_the_output(monkeypatch):
    fmt = FORMATS["nvfp4"]
    t = random_tensor(fmt, (32, 64), np.random.default_rng(0))
    plain = fmt.to_native(t)
    scaled = type(plain)(**{**plain.__dict__, "multiplier": np.float32(0.5)})
    x = mx.ones((2, 64))
    want = np.asarray(native.matmul(x, native.prepare(t, mx.float32))) * 0.5
    rows = np.asarray(native.embedding(mx.array([1, 2]), native.prepare(t, mx.float32), mx.float32)) * 0.5
    monkeypatch.setattr(fmt, "to_native", classmethod(lambda cls, t: scaled))
    assert np.array_equal(np.asarray(native.matmul(x, native.prepare(t, mx.float32))), want)
    assert np.array_equal(
        np.asarray(native.embedding(mx.array([1, 2]), native.prepare(t, mx.float32), mx.float32)), rows
    )


def test_reference_decodes_blocks_of_rows_not_matrices(monkeypatch):
    t = random_tensor(FORMATS["q4_0"], (1000, 512), np.random.default_rng(0))
    largest = []
    decode = type(t).dequantize
    monkeypatch.setattr(type(t), "dequantize", lambda self: largest.append(self.size) or decode(self))
    monkeypatch.setattr(reference, "FEW_BYTES", 64 * 512 * 4)
    x = np.random.default_rng(1).standard_normal((3, 512)).astype(np.float32)
    got = np.asarray(reference.matmul(mx.array(x), t))
    assert max(largest) == 64 * 512 and len(largest) == 16
    assert np.allclose(got, x @ decode(t).T, rtol=1e-4, atol=1e-3 * np.abs(got).max())


def test_experts_nobody_chose_are_not_decoded(monkeypatch):
    rng = np.random.default_rng(0)
    experts = [random_tensor(FORMATS[n], (8, 256), rng) for n in ("q4_0", "q8_0", "f32", "q6_k")]
    stack = registry.place_stack(experts, mx.float32)
    seen = []
    decode = type(experts[0]).dequantize
    monkeypatch.setattr(type(experts[0]), "dequantize", lambda self: seen.append(self.format.name) or decode(self))
    x = rng.standard_normal((2, 3, 1, 1, 256)).astype(np.float32)  # as SwitchGLU calls: [batch, tokens, 1, 1, dims]
    ids = np.array([[[3, 1], [3, 3], [1, 3]], [[1, 1], [3, 1], [1, 3]]])
    got = np.asarray(stack.gather(mx.array(x), mx.array(ids), False))
    assert set(seen) == {"q8_0", "q6_k"}
    want = np.einsum("btxyi,btkoi->btkxo", x, np.stack([decode(e) for e in experts])[ids])
    assert got.shape == (2, 3, 2, 1, 8)
    assert np.allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_embedding_decodes_only_rows_asked_for(monkeypatch):
    t = random_tensor(FORMATS["q8_0"], (500, 64), np.random.default_rng(0))
    seen = []
    decode = type(t).dequantize
    monkeypatch.setattr(type(t), "dequantize", lambda self: seen.append(self.shape) or decode(self))
    got = np.asarray(reference.embedding(mx.array([[7, 499, 7]]), t, mx.float32))
    assert seen == [(2, 64)]
    assert np.array_equal(got[0], decode(t)[[7, 499, 7]])


def test_a_native_kernel_that_disagrees_is_replaced_with_one_warning(monkeypatch):
    t = random_tensor(FORMATS["affine_4bit_g32"], (32, 64), np.random.default_rng(0))
    right = native.matmul
    monkeypatch.setattr(native, "matmul", lambda x, w: right(x, w) * 1.01)
    with pytest.warns(RuntimeWarning, match="affine_4bit_g32 on cpu disagrees") as warned:
        first = registry.place(t, mx.float32)
        second = registry.place(t, mx.float32)
    assert len(warned) == 1
    assert first.kernel is reference and second.kernel is reference


def test_rows_of_zeros_settle_nothing():
    fmt = FORMATS["affine_4bit_g32"]
    zeros = {n: np.zeros(p.shape, p.dtype.split("|")[-1]) for n, p in fmt.layout((32, 64)).items()}
    registry.place(random_tensor(fmt, (32, 64), np.random.default_rng(0)).__class__(fmt, (32, 64), zeros), mx.float32)
    assert registry._VERDICTS == {}


@pytest.mark.parametrize(("wish", "kernel"), [("reference", reference), ("native", native)])
def test_the_environment_overrides_the_choice(monkeypatch, wish, kernel):
    monkeypatch.setenv("LOCALQ_KERNELS", wish)
    t = random_tensor(FORMATS["affine_4bit_g64"], (32, 64), np.random.default_rng(0))
    assert registry.place(t, mx.float32).kernel is kernel


@pytest.mark.parametrize("wish", ["own", "fast"])
def test_an_unknown_override_is_refused(monkeypatch, wish):
    monkeypatch.setenv("LOCALQ_KERNELS", wish)
    with pytest.raises(UsageError, match=wish):
        registry.choose("matmul", FORMATS["f32"], "cpu")


def test_doctor_checks_walk_the_registry():
    rows = list(check_all([FORMATS["f16"], FORMATS["affine_8bit_g32"], FORMATS["q4_0"]]))
    assert len(rows) == 3 * len(registry.OPS)
    assert {(r.format, r.implementation) for r in rows} == {
        ("f16", "reference"),
        ("affine_8bit_g32", "native"),
        ("q4_0", "reference"),
    }
    assert all(r.ok for r in rows)
