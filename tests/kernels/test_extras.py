"""What stands beside MLX's modes (scales of rows, matrices, inputs; order of inputs), in every op, against float64."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from localq.formats import FORMATS
from localq.formats.base import Format, Native, PackedTensor, Part
from localq.kernels import native, reference, registry
from localq.kernels.checks import random_tensor, relative_error

OUT, IN = 48, 128
AFFINE = FORMATS["affine_4bit_g32"]


class Dressed(Format, same_size=True):
    """An affine tensor with any of the four beside it; not registered."""

    name = "dressed"

    @classmethod
    def layout(cls, shape):
        return AFFINE.layout(shape)

    @classmethod
    def options(cls, shape):
        scalar = Part("float32", shape[:-2])
        per_row = {"rows": Part("float32", shape[:-1]), "order": Part("int32", shape[-1:])}
        return {"matrix": scalar, **per_row, "inputs": Part("float32", shape[-1:])}

    @classmethod
    def select_rows(cls, t, index):
        plain = PackedTensor(AFFINE, t.shape, {n: t.parts[n] for n in cls.layout(t.shape)}).rows(index)
        rest = {n: p[index] if n == "rows" else p for n, p in t.parts.items() if n not in plain.parts}
        return PackedTensor(cls, plain.shape, {**plain.parts, **rest})

    @classmethod
    def dequantize(cls, t):
        w = AFFINE.dequantize(t)
        if "order" in t.parts:
            back = np.empty_like(w)
            back[..., t.parts["order"]] = w
            w = back
        w = w * t.parts.get("inputs", np.float32(1))
        return w * t.parts.get("rows", np.ones(t.shape[-2], np.float32))[:, None] * t.parts.get("matrix", np.float32(1))

    @classmethod
    def to_native(cls, t):
        p = t.parts
        multiplier = p.get("rows", p.get("matrix"))
        extras = {"multiplier": multiplier, "input_order": p.get("order"), "input_scale": p.get("inputs")}
        return Native("affine", 4, 32, p["weight"], p["scales"], p["biases"], **extras)


def dressed(names: str, seed: int = 0) -> PackedTensor:
    rng = np.random.default_rng(seed)
    beside = {
        "matrix": np.float32(rng.uniform(0.5, 2)) * np.ones((), np.float32),
        "rows": rng.uniform(0.5, 2, OUT).astype(np.float32),
        "order": rng.permutation(IN).astype(np.int32),
        "inputs": rng.uniform(0.5, 2, IN).astype(np.float32),
    }
    plain = random_tensor(AFFINE, (OUT, IN), rng)
    return PackedTensor(Dressed, (OUT, IN), {**plain.parts, **{n: beside[n] for n in names.split()}})


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.delenv("LOCALQ_KERNELS", raising=False)
    monkeypatch.setattr(registry, "_VERDICTS", {})


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("names", ["", "matrix", "rows", "order", "inputs", "rows order inputs", "matrix inputs order"])
@pytest.mark.parametrize("tokens", [2, 9])  # MLX's kernels, and the reference on their arrays
def test_a_matrix(names: str, tokens: int) -> None:
    t = dressed(names)
    one, w = registry.place(t, mx.float32), t.dequantize().astype(np.float64)
    assert one.kernel is native
    x, y, ids = draw(tokens, IN), draw(tokens, OUT), np.array([[3, 0], [47, 3]])
    assert relative_error(np.asarray(one.matmul(mx.array(x))), x @ w.T) < 1e-5
    assert relative_error(np.asarray(one.transposed(mx.array(y))), y @ w) < 1e-5
    assert relative_error(np.asarray(one.embedding(mx.array(ids), mx.float32)), w[ids]) < 1e-6
    for dtype in (mx.float16, mx.bfloat16):
        half = registry.place(t, dtype)
        assert half.matmul(mx.array(x).astype(dtype)).dtype == dtype
        assert half.transposed(mx.array(y).astype(dtype)).dtype == dtype
        assert half.embedding(mx.array(ids), dtype).dtype == dtype


@pytest.mark.parametrize("names", ["", "matrix", "rows", "order", "inputs"])
@pytest.mark.parametrize("tokens", [2, 20])
def test_a_stack(names: str, tokens: int) -> None:
    each = [dressed(names, seed) for seed in range(3)]
    if names in ("matrix", "rows"):
        each[1] = dressed("", 1)  # one without: the number 1
    stack = registry.place_stack(each, mx.float32)
    w = np.stack([t.dequantize() for t in each]).astype(np.float64)
    assert stack.kernel is (reference if names in ("order", "inputs") else native)
    chosen = np.random.default_rng(1).integers(0, 3, tokens)
    x, y = draw(tokens, 1, IN), draw(tokens, 1, OUT)
    ids = mx.array(chosen)
    got = np.asarray(stack.gather(mx.array(x), ids, False))
    assert relative_error(got, np.einsum("tmi,toi->tmo", x, w[chosen])) < 1e-5
    got = np.asarray(stack.gather(mx.array(y), ids, False, False))
    assert relative_error(got, np.einsum("tmo,toi->tmi", y, w[chosen])) < 1e-5
    heads, outs = draw(3, tokens, IN), draw(3, tokens, OUT)
    assert relative_error(np.asarray(stack.multi(mx.array(heads), True)), np.einsum("hti,hoi->hto", heads, w)) < 1e-5
    assert relative_error(np.asarray(stack.multi(mx.array(outs), False)), np.einsum("hto,hoi->hti", outs, w)) < 1e-5


def test_per_matrix_and_per_row_scales_of_one_stack() -> None:
    each = [dressed("matrix"), dressed("rows", 1)]
    stack = registry.place_stack(each, mx.float32)
    w, x = np.stack([t.dequantize() for t in each]).astype(np.float64), draw(2, 1, IN)
    got = np.asarray(stack.gather(mx.array(x), mx.array([0, 1]), False))
    assert stack.kernel is native and relative_error(got, np.einsum("tmi,toi->tmo", x, w)) < 1e-5


def test_ways_in_words() -> None:
    assert registry.place(dressed("rows order"), mx.float32).ways.way == (
        "native affine 4-bit g32 x channel scale of reordered inputs"
    )
    assert registry.place(dressed("matrix"), mx.float32).ways.way == "native affine 4-bit g32 x matrix scale"
