"""Counts of loads, on a kernel whose loads one can count by hand."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx

from localq_metal.dequantize import dequantize
from tests.metal.blocks import ordinary, packed
from tests.metal.counting import Counting, Loads
from tests.metal.harness import Harness


def test_loads_are_counted(harness: Harness, tmp_path: Path) -> None:
    counting = Counting(tmp_path)
    one = packed(ordinary("q8_0", (3, 64)))
    found = counting.count(lambda f: dequantize(f, one, mx.float32))
    assert found["w"] == Loads(3 * 4 * 9, 3 * 4 * 18)  # of 16 weights: a scale and eight pairs, two bytes each
    assert found["o"] == Loads(0, 0)
