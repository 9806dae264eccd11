"""Structs of formats other than ggml's: decoded bit for bit as the format's own reference, products within bounds.

The references are checked against their authors' code in tests/packed and tests/formats. Rotated formats are decoded
bit for bit between their rotations; the rotations themselves are compared with numpy in test_hadamard.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from localq.formats import FORMATS, find
from localq.formats.base import Format, PackedTensor
from localq.formats.exl3 import EXL3
from localq.formats.fp8 import FP8
from localq.formats.vptq import VPTQ
from localq.kernels import arrays, own, registry
from localq.kernels.checks import random_tensor
from localq_metal import source
from localq_metal.dequantize import dequantize
from localq_metal.gather import gather
from localq_metal.qmv import qmv
from tests.metal.harness import CHECKED, FAST, FLUSH, FMA, Harness, KernelError, Mode

FAMILIES = [f for f in FORMATS.values() if f.kernel and f.family != "ggml"]
NAMES: tuple[str, ...] = (  # one of every struct, and of every way into it
    *("gptq_4bit_g128", "gptq_v2_3bit_g64", "gptq_p_5bit_g128", "gptq_v2_7bit_g16_asym", "gptq_8bit_row"),
    *("awq_4bit_g32_asym", "ct_int4_g32_asym", "ct_int6_g16", "ct_bytes_g128", "torchao_int8_g32", "modelopt_int4_g16"),
    *("hqq_3bit_g64", "hqq_1bit_g16", "hqq_4bit_g64_axis0", "hqq_3bit_g64_axis0"),
    *("fp8_e4m3_block128_inv", "fp8_e5m2_channel", "fp8_e4m3_block64_powers", "fp8_e4m3_halves", "quanto_float8"),
    *("bnb_nf4_g64", "bnb_fp4_g64_double", "bnb_nf4_g1024_double", "tq2", "tq3", "tq4"),
    *("higgs_4bit_g256_h256", "higgs_2bit_g64_h128", "higgs_3bit_g128_h2048"),
    *(
        "aqlm_2x8_g1x8",
        "aqlm_1x12_g2x16",
        "aqlm_3x4_g1x4",
        "vptq_v4k64r0_t1_o0x0x0",
        "vptq_v4k128r2_t1_o0x0x0",
        "vptq_v6k256r16_t2_o32x3x64_perm",
    ),
    *("exl3_4bit_mul1", "exl3_3bit_mcg", "exl3_1bit", "exl3_2.5bit_mul1", "quip_2bit", "quip_3bit", "quip_4bit_x3.6"),
)
FUSED: tuple[str, ...] = (
    "gptq_v2_3bit_g64",
    "hqq_4bit_g64_axis0",
    "fp8_e4m3_block128_inv",
    "bnb_nf4_g64",
    "aqlm_2x8_g1x8",
)
# Not those that add a product: fused it is nearer, in other bits.
FUSED += ("exl3_4bit_mul1", "exl3_3bit_mcg", "quip_4bit_x3.6", "tq3")
ONE_EACH: tuple[str, ...] = (
    "gptq_v2_3bit_g64",
    "hqq_4bit_g64_axis0",
    "fp8_e4m3_block128_inv",
    "bnb_nf4_g64",
    "bnb_fp4_g64_double",
)
ONE_EACH += ("aqlm_2x8_g1x8", "vptq_v6k256r16_t2_o32x3x64_perm", "exl3_3bit_mcg", "quip_3bit", "tq3")
STACKED: tuple[str, ...] = (
    "fp8_e4m3_block128_inv",
    "hqq_4bit_g64_axis0",
    "bnb_fp4_g64_double",
    "aqlm_2x8_g1x8",
    "exl3_3bit_mcg",
    "quip_3bit",
)
STACKED += ("vptq_v6k256r16_t2_o32x3x64_perm", "spqr", "ct_sparse_any_f16", "ct_sparse_24_fp8")
ONE_EACH += ("spqr", "ct_sparse_any_f16", "mxfp6_e2m3", "fp8_inverse_e4m3_block4x32")
ROTATED = ("tq", "exl3", "quip", "higgs")
NAMES += ("fp8_inverse_e4m3_block4x32", "fp8_inverse_e5m2_tensor", "mxfp6_e3m2", "mxfp6_e2m3", "spqr")
NAMES += ("ct_sparse_24_bf16", "ct_sparse_24_fp8", "ct_sparse_24_int8", "ct_sparse_any_f16")
NAMES += ("vptq_v3k128r16_t1_o0x0x0",)  # 11 bits a code: some end a bit into the next word
ROWS = {"exl3": 128, "quip": 128, "higgs": 512, "vptq": 37, "spqr": 48}  # 37: the last vector of rows has one
BIG = 1e30


def form_of(name: str) -> Any:
    form = find(name)
    assert form is not None, name
    return form


def drawn(name: str, rows: int = 0, columns: int = 768, seed: int = 0) -> PackedTensor:
    form = form_of(name)
    shape = (rows or ROWS.get(form.kernel, 36), 2048 if name.endswith("h2048") else columns)
    return random_tensor(form, shape, np.random.default_rng(seed))


def held(*tensors: PackedTensor) -> source.Packed:
    each = [one for t in tensors if (one := arrays.inputs(t)) is not None]
    assert len(each) == len(tensors)
    stack = (len(tensors),) if len(tensors) > 1 else ()
    return arrays.packed(each, (*stack, *tensors[0].shape))


def between(t: PackedTensor) -> Any:
    """float32 weights as the reference has them, before it rotates them."""
    form: Any = t.format
    p = t.parts
    if form.kernel == "tq":
        codes = np.unpackbits(p["weight"].view(np.uint8), bitorder="little").reshape(t.size, int(form.bits))
        levels = form.levels()[codes @ (1 << np.arange(int(form.bits)))].reshape(-1, 128)
        return (levels * (p["norms"].astype(np.float32).reshape(-1, 1) * np.float32(1 / np.sqrt(128)))).reshape(t.shape)
    if form.kernel == "exl3":
        return np.ascontiguousarray(form.tiles(p["trellis"]).T)
    if form.kernel == "quip":
        return form.points(t)
    if form.kernel == "higgs":
        return form.points(t, np.arange(t.shape[0]))
    return ordered(t)


def ordered(t: PackedTensor) -> np.ndarray:
    """The reference's weights, columns as the struct has them."""
    w, one = t.dequantize(), arrays.inputs(t)
    assert one is not None
    return w if one.rotated is None or one.rotated.order is None else w[:, one.rotated.order]


def decoded(harness: Harness, t: PackedTensor, mode: Mode, dtype: mx.Dtype = mx.float32) -> np.ndarray:
    return np.array(dequantize(harness.factory(mode), held(t), dtype).astype(mx.float32))


def same(got: np.ndarray, want: np.ndarray) -> bool:
    return np.array_equal(got, want, equal_nan=True)


@pytest.mark.parametrize("form", FAMILIES, ids=lambda f: f.name)
def test_every_family_is_served_and_tried_here(form: type[Format]) -> None:
    assert any(issubclass(form_of(name), form) for name in NAMES) or form.name in _LIKE_OTHERS
    for op in registry.OPS:
        assert own.serves(op, form)


_LIKE_OTHERS = (
    "awq_gemv",
    "awq_gemv_fast",
    "awq_llm",
    "torchao_float8",
)  # read by the functions of others, see test_ways_in


def test_ways_in(harness: Harness) -> None:
    for name in (
        "awq_gemv_4bit_g64_asym",
        "awq_gemv_fast_4bit_g128_asym",
        "torchao_float8_row",
        "torchao_float8_matrix",
    ):
        t = drawn(name, 8)
        assert same(decoded(harness, t, FAST), t.dequantize()), name


@pytest.mark.parametrize("name", NAMES)
def test_dequantize_is_bit_exact_with_the_reference(harness: Harness, name: str) -> None:
    t = drawn(name)
    want = between(t)
    for mode in (FAST, *[CHECKED] * (name in ONE_EACH), *[FMA] * (name in FUSED)):
        assert same(decoded(harness, t, mode), want), mode.name


@pytest.mark.parametrize("name", ["gptq_4bit_g128", "fp8_e4m3_block128_inv", "bnb_nf4_g64", "exl3_3bit_mcg"])
def test_halves_are_rounded_once(harness: Harness, name: str) -> None:
    t = drawn(name)
    for dtype, kind in ((mx.float16, np.float16), (mx.bfloat16, ml_dtypes.bfloat16)):
        assert same(decoded(harness, t, FAST, dtype), between(t).astype(kind).astype(np.float32))


@pytest.mark.parametrize("name", ["vptq_v8k256r16_t1_o0x0x0_perm_norm", "bnb_nf4_g1024_double"])
def test_fused_sums_are_off_by_a_rounding(harness: Harness, name: str) -> None:
    t = drawn(name)
    want = ordered(t)
    assert np.abs(decoded(harness, t, FMA) - want).max() <= 2.0**-23 * np.abs(want).max()
    assert same(decoded(harness, t, FAST), want)


@pytest.mark.parametrize("name", ONE_EACH)
def test_qmv_stays_within_its_bound_of_float64(harness: Harness, name: str) -> None:
    """As in test_qmv: (n + 1) u |x|.|w| for the sum of n products; the kernel multiplies decoded weights."""
    t = drawn(name)
    x = np.random.default_rng(3).standard_normal((2, t.shape[1])).astype(np.float32)
    w = between(t).astype(np.float64)
    want, bound = x @ w.T, (t.shape[1] + 1) * 2.0**-24 * (np.abs(x) @ np.abs(w).T)
    for mode in (FAST, FLUSH):
        assert (np.abs(np.array(qmv(harness.factory(mode), held(t), mx.array(x))) - want) <= bound).all(), mode.name


@pytest.mark.parametrize("name", STACKED)
def test_gather_is_qmv_of_the_matrix_named(harness: Harness, name: str) -> None:
    """Bit for bit and in checked mode: structs find their rows, blocks and tables in a stack."""
    each = [drawn(name, seed=seed) for seed in range(3)]
    x, named = mx.random.normal((3, each[0].shape[1])), [2, 0, 2]
    factory = harness.factory(CHECKED)
    y = gather(factory, held(*each), x, mx.array(named))
    for i, at in enumerate(named):
        assert mx.array_equal(y[i], qmv(factory, held(each[at]), x[i : i + 1])[0])


def test_fp8_codes_edges_and_scales(harness: Harness) -> None:
    """Every code, subnormals and NaN too; blocks cut off at both ends; extreme scales, E8M0 bytes."""
    for code, kind in (("e4m3", ml_dtypes.float8_e4m3fn), ("e5m2", ml_dtypes.float8_e5m2)):
        form = FP8.of(code, "block", 32)
        codes = np.resize(np.arange(256, dtype=np.uint8), (40, 80)).view(kind)
        scales = np.array([[1, BIG, 1e-30], [2e-38, -3, 0.1]], np.float32)
        t = PackedTensor(form, (40, 80), {"weight": codes, "weight_scale": scales})
        with np.errstate(all="ignore"):
            want = t.dequantize()
        for mode in (FAST, CHECKED):
            assert same(decoded(harness, t, mode), want)
        flushed = decoded(harness, t, FLUSH)
        small = np.abs(want) < 2.0**-126
        assert same(flushed[~small], want[~small]) and not flushed[small].any()
    form = FP8.of("e4m3", "block", 32, "powers")
    powers = np.array([[0, 127, 254], [1, 100, 150]], np.uint8)
    t = PackedTensor(form, (40, 80), {"weight": (np.resize(codes.view(np.uint8), (40, 80)) & 0x7E).view(
        ml_dtypes.float8_e4m3fn), "weight_scale": powers})  # fmt: skip
    with np.errstate(all="ignore"):
        assert same(decoded(harness, t, FAST), t.dequantize())


def ends_of_mxfp6(name: str) -> PackedTensor:
    """Powers of two at both ends among the scales; the last is infinite."""
    t = drawn(name, 4)
    scales = t.parts["weight_scale"].copy()
    scales.reshape(-1)[:6] = (0, 1, 2, 253, 254, 255)
    return PackedTensor(t.format, t.shape, {**t.parts, "weight_scale": scales})


def nan_among_sparse() -> PackedTensor:
    """8-bit floats kept of two in four, some of them NaN."""
    t = drawn("ct_sparse_24_fp8", 4)
    codes = t.parts["compressed"].copy()
    codes.view(np.uint8)[:, :2] = (0x7F, 0xFF)
    return PackedTensor(t.format, t.shape, {**t.parts, "compressed": codes})


def test_nan_among_sparse_weights(harness: Harness) -> None:
    t = nan_among_sparse()
    got = decoded(harness, t, CHECKED)
    assert np.isnan(got).sum() == 8 and same(got, t.dequantize())


@pytest.mark.parametrize("name", ["mxfp6_e3m2", "mxfp6_e2m3"])
def test_scales_of_mxfp6_at_either_end(harness: Harness, name: str) -> None:
    t = ends_of_mxfp6(name)
    with np.errstate(all="ignore"):
        assert same(decoded(harness, t, FAST), t.dequantize())


MUTANTS = (
    *(
        ("fp8_e4m3_block128_inv", "(size << 7)", "(size << 6)"),
        ("bnb_nf4_g64", "column) / GROUP]", "column) / GROUP + 1]"),
    ),
    *(("awq_4bit_g32_asym", "- zero) * scale;", "+ zero) * scale;"), ("exl3_3bit_mcg", "code + 257", "code + 256")),
    *(("vptq_v6k256r16_t2_o32x3x64_perm", "(32 - shift)", "(31 - shift)"), ("aqlm_1x12_g2x16", "row % OG", "row / OG")),
    *(("quip_3bit", "odd == 0 ? 1 : -1", "odd == 0 ? -1 : 1"), ("tq3", "0x3db504f3u", "0x3db504f4u")),
)


@pytest.mark.parametrize("name, word, other", MUTANTS)
def test_a_wrong_decoder_is_seen(harness: Harness, name: str, word: str, other: str) -> None:
    t = drawn(name)
    assert source.decoder(held(t).stem).count(word) == 1
    real = harness.factory(CHECKED)
    try:
        got = dequantize(
            lambda **made: real(**{**made, "header": made["header"].replace(word, other)}), held(t), mx.float32
        )
    except KernelError as error:
        assert "out-of-bounds read" in str(error)
    else:
        assert not same(np.array(got), between(t))


@pytest.mark.parametrize("scale", [65504.0, 6e-8, 0.0])
def test_extreme_scales_of_integers(harness: Harness, scale: float) -> None:
    t = drawn("gptq_4bit_g128")
    parts = {**t.parts, "scales": np.full_like(t.parts["scales"], scale)}
    t = PackedTensor(t.format, t.shape, parts)
    for mode in (FAST, FLUSH):
        assert same(decoded(harness, t, mode), t.dequantize())


def test_constants_of_a_kernel_are_those_its_struct_names() -> None:
    for name in NAMES:
        one = held(drawn(name))
        assert tuple(n for n, _ in one.constants) == source.constants(one.stem)
        for body in source.PARAMETERS:
            assert len(source.decoder(one.stem)) + len(source.body(body)) < source.LIMIT - 200
    assert issubclass(form_of("exl3_3bit_mcg"), EXL3) and issubclass(form_of("vptq_v4k64r0_t1_o0x0x0"), VPTQ)
