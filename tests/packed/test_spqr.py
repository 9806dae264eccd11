"""SpQR against its package's own C++ functions, run on the CPU (tools/fixtures/spqr.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError
from localq.formats import find
from tests.factories.tiny import build
from tests.packed.fixtures import NAME, assert_same, read, variants, write
from tests.packed.models import Packed, compare, write_both

PROVES = {"spqr"}
VARIANTS = variants("spqr.safetensors")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_the_packages(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    t = read(tmp_path, variant.parts, variant.config)
    assert_same(t, variant)
    assert find(t.format.name) is t.format
    whole, out = t.dequantize(), t.shape[0]
    for index in (slice(0, 8), slice(3, 14), slice(None, None, 3), np.array([out - 1, 0, 5, 5]), slice(out - 1, out)):
        np.testing.assert_array_equal(t.rows(index).dequantize(), whole[index])
    assert t.format.join_rows([t, t]) is None and not t.format.has_native(t)


GOOD, TILED = VARIANTS["csr"], VARIANTS["ptcsr"]


def changed(name: str, place: int, value: int) -> dict[str, np.ndarray]:
    array = GOOD.parts[name].copy()
    array[place] = value
    return {name: array}


DAMAGE: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no outliers' list": (GOOD, {"col_vals": None}, "four lists"),
    "no order": (GOOD, {"in_perm": np.zeros(0, np.int32)}, "in_perm not empty"),
    "twice": (GOOD, changed("in_perm", 0, 0), "no order of its 64 inputs"),
    "words": (GOOD, {"dense_weights": GOOD.parts["dense_weights"][:-1]}, "33 entries for 1 rows of tiles"),
    "dtype": (GOOD, {"dense_weights": GOOD.parts["dense_weights"].astype(np.int32)}, "int32"),
    "rows": (GOOD, {"row_offsets": GOOD.parts["row_offsets"][:-16]}, "17 entries for 2 rows of tiles"),
    "descent": (GOOD, changed("row_offsets", 5, 10_000), "an ascent from 0"),
    "negative": (GOOD, changed("row_offsets", 0, -4), "from -4 to"),
    "end": (GOOD, changed("row_offsets", -1, 3), "to 3; an ascent from 0 to its"),
    "column": (GOOD, changed("col_vals", 2, 64), "is in column 64"),
    "infinite": (GOOD, changed("col_vals", 2, 0x7C00 << 16), "inf; expected finite"),
    "scale": (GOOD, {"dense_weights": GOOD.parts["dense_weights"] | (255 << 54)}, "nan; expected finite"),
    "high bits": (GOOD, changed("dense_weights", 3, GOOD.parts["dense_weights"][3] | 1 << 62), "Bits 62 and 63"),
    "unaligned": (TILED, {"row_offsets": TILED.parts["row_offsets"] // 16 * 16 + [0, 3, 0, 0]}, "no multiples of 16"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_tensor_found_and_expected(tmp_path: Path, case: str) -> None:
    variant, change, said = DAMAGE[case]
    parts = {n: a for n, a in {**variant.parts, **change}.items() if a is not None}
    if case == "unaligned":
        parts["row_offsets"] = parts["row_offsets"].astype(np.int32)
    with pytest.raises(CheckpointError, match=said) as error:
        open_checkpoint(write(tmp_path, parts, variant.config))[f"{NAME}.weight"]
    assert NAME in str(error.value)


@pytest.mark.parametrize("change", [{"bits": 4}, {"beta1": 32}, {"beta2": None}])
def test_other_widths_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with open_checkpoint(write(tmp_path, GOOD.parts, {**GOOD.config, **change})) as checkpoint:
        assert checkpoint.unsupported is not None and f"{next(iter(change))} is" in checkpoint.unsupported


def random_tiles(weight: np.ndarray) -> Packed:
    from localq.formats.spqr import SpQR

    t = SpQR.sample(weight.shape, np.random.default_rng(weight.shape[0]))
    return dict(t.parts), t.dequantize()


def test_logits_of_a_whole_model(tmp_path: Path) -> None:
    config = {"quant_method": "spqr", "bits": 3, "beta1": 16, "beta2": 16}
    packed, dense = write_both(build("llama"), tmp_path, lambda p, w: random_tiles if "_proj" in p else None, config)
    model, distance = compare(packed, dense)
    assert distance < 1e-4 and {row.way for row in model.report.rows if row.format == "spqr"} == {"reference"}
