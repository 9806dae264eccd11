"""Why own kernels take formats that MLX's affine mode could hold: bytes of a matrix in either, counted."""

from __future__ import annotations

import mlx.core as mx
import pytest

from localq.kernels import native, own
from tests.metal.blocks import STEMS, ordinary, with_scale

HELD = sorted(stem for stem, fmt in STEMS.items() if fmt.has_native(ordinary(stem, (4, 256))))
# Affine scales are 16-bit floats beside float16 activations; beside bfloat16 ones they are float32, which loses nothing
GROWTH = {  # with float16, with bfloat16
    "q4_0": (5.0 / 4.5, 6.0 / 4.5), "q4_1": (1.0, 6.0 / 5.0), "q5_0": (6.0 / 5.5, 7.0 / 5.5), "q5_1": (1.0, 7.0 / 6.0),
    "q8_0": (9.0 / 8.5, 10.0 / 8.5), "q1_0": (1.25 / 1.125, 1.5 / 1.125), "q2_0": (2.5 / 2.25, 3.0 / 2.25),
    "tq2_0": (2.25 / 2.0625, 2.5 / 2.0625), "mxfp4_ggml": (1.0, 1.0), "nvfp4_ggml": (1.0, 1.0),
}  # fmt: skip


@pytest.mark.parametrize("stem", HELD)
def test_bytes_of_native_over_those_of_the_file(stem: str) -> None:
    fmt = STEMS[stem]
    t = with_scale(stem, (16, 4096), 0.01)  # no power of two: bfloat16 rounds it
    assert sum(a.nbytes for a in own.prepare(t, mx.float16).packed.arrays) <= t.nbytes + 4 * 16  # nvfp4: scales of rows
    for dtype, growth in zip((mx.float16, mx.bfloat16), GROWTH[stem], strict=True):
        held = native.prepare(t, dtype)
        assert held is not None and sum(a.nbytes for a in held.arrays) / t.nbytes == pytest.approx(growth, rel=2e-3)
    assert fmt.same_size == (GROWTH[stem] == (1.0, 1.0))
