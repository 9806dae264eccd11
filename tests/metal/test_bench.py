"""`make bench-kernels`: on a Mac (played here, so its times mean nothing) and without a GPU."""

from __future__ import annotations

import mlx.core as mx
import pytest

from benchmarks import kernels
from localq.kernels import own, registry
from tests.metal.harness import Harness, missing
from tools import kernel_counts


def test_every_operation_is_timed(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(registry, "_VERDICTS", {})
    made = harness.factory()
    monkeypatch.setattr(own, "factory", lambda: made)
    monkeypatch.setattr(registry, "activation_dtype", lambda stored: mx.float32)
    for name, small in (("OUT", 256), ("IN", 256), ("COLD", 1 << 16), ("ROUNDS", 1)):
        monkeypatch.setattr(kernels, name, small)
    monkeypatch.setattr(kernels, "TOKENS", {"vector": 1, "prompt": 33})
    assert kernels.main(["q6_k"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("q6_k")]
    assert {line.split()[1] for line in lines} == {"vector", "prompt", "stored", "embedding", "decoded", "experts"}
    assert all(line.split()[2] == "own" and "of copying" in line for line in lines)


def test_counts_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    if missing():
        pytest.skip(missing())
    assert kernels.main(["q8_0"]) == 0
    rows = {line[36:48].strip(): line.split() for line in capsys.readouterr().out.splitlines() if line[:5] == "q8_0 "}
    assert len(rows) == 7 and rows["dequantize"][2:5] == ["3.062", "0.56", "1.12"]  # 34 bytes for 32; 9 loads for 16
    assert kernel_counts.NOTHING not in rows["vector"][2:6]
