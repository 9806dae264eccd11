"""A packed model runs within packed weights + 2 dequantised layers + KV cache (benchmarks/memory.py, a smaller model).

Dequantised whole, this model would take 470 MB; the bound is about 170.
"""

from __future__ import annotations

import sys

import pytest

from benchmarks.memory import Size, measure, ratio, write_gguf, write_mlx

SIZE, TOKENS = Size(layers=8, vocabulary=8192), 48

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc"),
    pytest.mark.slow,
]


@pytest.mark.parametrize("container", ["gguf", "mlx"])
def test_peak_memory_stays_within_the_bound(tmp_path, container):
    path = write_gguf(tmp_path / "m.gguf", SIZE) if container == "gguf" else write_mlx(tmp_path / "m", SIZE)
    found = measure(path, TOKENS)
    assert found["made"] == 4
    assert found["packed"] > 60_000_000
    assert found["peak"] > found["packed"] // 2  # the weights were really read
    assert ratio(found, SIZE, TOKENS) <= 1
