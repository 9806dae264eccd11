"""Shapes of products per device: the table, what `localq bench --tune` finds and keeps, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from localq.errors import UsageError
from localq.formats import FORMATS
from localq.kernels import own, registry, tune, tuning
from localq_metal.qmv import Shape
from tests.metal.blocks import ordinary, packed
from tests.metal.harness import Harness

CHOICES = (Shape(4, 2), Shape(2, 2), Shape(1, 4))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("LOCALQ_KERNELS", raising=False)
    monkeypatch.setattr(tuning, "cache_dir", lambda: str(tmp_path))
    monkeypatch.setattr(tuning, "device_name", lambda: "Apple M9 Max")
    tuning.measured.cache_clear()
    tuning.shape.cache_clear()
    yield
    tuning.measured.cache_clear()
    tuning.shape.cache_clear()


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch, harness: Harness) -> None:
    made = harness.factory()
    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(own, "factory", lambda: made)


def test_the_table_until_something_is_measured() -> None:
    assert tuning.shape("q4_k") == tuning.FAMILIES["Apple"]["q4_k"] and tuning.shape("q4_0") == Shape(4, 2)
    tuning.save({"q4_k": Shape(8, 4)})
    tuning.save({"q6_k": Shape(1, 1)})  # what was kept stays
    assert (tuning.shape("q4_k"), tuning.shape("q6_k"), tuning.shape("q4_0")) == (Shape(8, 4), Shape(1, 1), Shape(4, 2))
    stored = json.loads(tuning.path().read_text())
    assert (stored["device"], stored["mlx"]) == ("Apple M9 Max", tuning._VERSION)
    assert [f.name for f in tuning.path().parent.iterdir()] == [tuning.path().name]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"shapes": {"q4_k": [9, 9]}}', '{"shapes": {"q4_k": 4}}', '{"shapes": 1}']
)
def test_a_damaged_file_is_ignored_with_a_warning(text: str) -> None:
    tuning.path().parent.mkdir(parents=True)
    tuning.path().write_text(text)
    with pytest.warns(RuntimeWarning, match="no table of kernel shapes"):
        assert tuning.measured() == {}
    assert tuning.shape("q4_k") == tuning.FAMILIES["Apple"]["q4_k"]


def test_the_fastest_of_what_the_device_takes(harness: Harness) -> None:
    """The clock is played: launches of one shape are made slow; another is refused, as Metal does."""
    real, now = harness.factory(), [0.0]

    def factory(**made):
        kernel = real(**made)

        def call(**how):
            template = dict(how["template"])
            if template["SG"] == 4:
                raise ValueError("thread group size too large")
            now[0] += template["R"]
            return kernel(**how)

        return call

    weights = [packed(ordinary("q4_k", (16, 256), seed)) for seed in range(2)]
    times = tuning.fastest(factory, weights, mx.ones((1, 256)), CHOICES, clock=lambda: now[0])
    assert list(times.items()) == [(Shape(2, 2), 2.0), (Shape(4, 2), 4.0)]


def test_tune_keeps_a_shape_for_every_format(mac: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "CANDIDATES", CHOICES)
    monkeypatch.setattr(tuning, "ROUNDS", 1)
    monkeypatch.setattr(tuning, "COPIES", 2)
    rows = list(tune.tune([FORMATS["q4_k"], FORMATS["q6_k"], FORMATS["affine_4bit_g64"]], (32, 256)))
    assert [row.stem for row in rows] == ["q4_k", "q6_k"]
    assert all(row.shape in CHOICES and 0 < row.seconds <= row.before for row in rows)
    assert tuning.measured() == {row.stem: row.shape for row in rows}
    t, x = ordinary("q4_k", (21, 256)), np.random.default_rng(0).standard_normal((1, 256)).astype(np.float32)
    got = np.array(registry.place(t, mx.float32).matmul(mx.array(x)))
    assert np.allclose(got, x @ t.dequantize().T, rtol=1e-4, atol=1e-4 * np.abs(got).max())


def test_a_machine_without_kernels_is_told_so() -> None:
    with pytest.raises(UsageError, match=r"nothing to tune: MLX computes on 'cpu'"):
        list(tune.tune(FORMATS.values()))
    assert not tuning.path().exists()
