"""Every decode struct against gguf-py, bit for bit, in every numeric mode; and its text against the format's facts."""

from __future__ import annotations

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from localq.formats import FORMATS
from localq_metal import source
from localq_metal.dequantize import dequantize
from localq_metal.source import Packed
from tests.metal.blocks import IN_EVERY_DTYPE, STEMS, every_kind, oracle, ordinary, packed
from tests.metal.harness import CHECKED, FAST, FLUSH, Harness, KernelError, Mode, modes

ROUNDED = {mx.float32: np.float32, mx.float16: np.float16, mx.bfloat16: ml_dtypes.bfloat16}
OTHERS = {f.kernel for f in FORMATS.values() if f.kernel} | {"bnb_4bit_double", "columns"}  # see test_layouts
LEAST = 2.0**-123  # below are subnormal floats, and what is made from subnormal scales (mxfp4's two smallest)


def bits(a: mx.array) -> np.ndarray:
    return np.array(a.view({4: mx.uint32, 2: mx.uint16}[a.dtype.size]))


def test_every_stem_has_a_struct_and_a_format() -> None:
    assert set(STEMS) | set(OTHERS) == set(source.stems())


@pytest.mark.parametrize("stem", sorted(STEMS))
def test_struct_and_format_agree(stem: str) -> None:
    text, fmt = source.decoder(stem), STEMS[stem]
    assert f"WEIGHTS = {fmt.block_size}, BYTES = {fmt.block_bytes}, ALIGN = {alignment(stem)} }}" in text
    assert fmt.block_bytes % alignment(stem) == 0
    run, span, stride = (
        int(text.split(f"{name} = ")[1].split(",")[0].split()[0]) for name in ("RUN", "SPAN", "STRIDE")
    )
    assert stride % run == 0 and fmt.block_size % (span * stride) == 0  # no piece lies in two blocks
    for name in source.PARAMETERS:
        assert len(text) + len(source.body(name)) < source.LIMIT


def alignment(stem: str) -> int:
    return int(source.decoder(stem).split("ALIGN = ")[1].split()[0])


@pytest.mark.parametrize("stem, dtype", IN_EVERY_DTYPE, ids=str)
def test_dequantize_is_bit_exact_with_gguf(harness: Harness, stem: str, dtype: mx.Dtype) -> None:
    t = every_kind(stem, 768)
    want = oracle(t)
    with np.errstate(all="ignore"):
        rounded = want.astype(ROUNDED[dtype])
    number = ~np.isnan(want)
    expected = rounded.view(np.uint32 if dtype == mx.float32 else np.uint16)
    for mode in modes(dtype) if dtype == mx.float32 else (FAST, FLUSH):  # memory is watched in float32
        got = dequantize(harness.factory(mode), packed(t), dtype)
        flushed = mode.flush & (np.abs(want) < LEAST) & (np.array(got.astype(mx.float32)) == 0)
        wrong = np.argwhere((bits(got) != expected) & number & ~flushed)
        assert len(wrong) == 0, f"{mode.name}: {len(wrong)} weights differ, the first at {wrong[0]}"
        assert np.isnan(np.array(got.astype(mx.float32))[~number]).all(), mode.name


@pytest.mark.parametrize("stem", sorted(STEMS))
def test_one_block_and_no_rows(harness: Harness, stem: str) -> None:
    t = ordinary(stem, (1, 256))
    got = dequantize(harness.factory(CHECKED), packed(t), mx.float32)
    assert np.array_equal(np.array(got), oracle(t))
    nothing = Packed(stem, packed(t).arrays, (0, 256))
    assert dequantize(harness.factory(), nothing, mx.float16).shape == (0, 256)


@pytest.mark.parametrize("stem", sorted(STEMS))
def test_loads_are_no_wider_than_the_struct_says(harness: Harness, stem: str) -> None:
    """Rows of a file may begin at any multiple of ALIGN; a wider load would be garbage on a GPU, not an error."""
    t = ordinary(stem, (1, 256))
    align = alignment(stem)

    def at(offset: int) -> mx.array:
        mode = Mode("offset", checked=True, offset=offset)
        return dequantize(harness.factory(mode), packed(t), mx.float32)

    assert np.array_equal(np.array(at(align)), oracle(t))
    if align > 1:
        with pytest.raises(KernelError, match="misaligned"):
            at(align // 2)
