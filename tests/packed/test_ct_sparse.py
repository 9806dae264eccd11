"""compressed-tensors' sparse containers against its own compressors (tools/fixtures/ct_sparse.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError
from localq.formats import find
from localq.formats.ct_sparse import CTSparse
from tests.factories.tiny import build
from tests.packed.fixtures import NAME, assert_same, variants
from tests.packed.models import Packed, compare, write_both
from tests.packed.rawfile import save

PROVES = {"ct_sparse"}
VARIANTS = variants("ct_sparse.safetensors")


def write(folder: Path, parts: dict[str, np.ndarray], config: dict[str, Any]) -> Path:
    said = dict(config)
    floats = said.pop("float8", {})
    own = {n: a.view(ml_dtypes.float8_e4m3fn) if n in floats and a.dtype == np.uint8 else a for n, a in parts.items()}
    save(folder / "model.safetensors", {f"{NAME}.{n}": a for n, a in own.items()})
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": said}))
    return folder


@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_the_peers(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    with open_checkpoint(write(tmp_path, variant.parts, variant.config)) as checkpoint:
        assert checkpoint.unsupported is None, checkpoint.unsupported
        t = checkpoint[f"{NAME}.weight"]
    assert_same(t, variant)
    assert find(t.format.name) is t.format
    whole, out = t.dequantize(), t.shape[0]
    for index in (slice(0, 3), slice(2, 7), slice(None, None, 2), np.array([out - 1, 0, 5, 5]), slice(2, 2)):
        np.testing.assert_array_equal(t.rows(index).dequantize(), whole[index])
    assert t.format.join_rows([t, t]) is None and not t.format.has_native(t)


GOOD, ANY, FP8 = VARIANTS["24_bf16"], VARIANTS["any_f16"], VARIANTS["24_fp8_rows"]
BITS = GOOD.parts["bitmask"]
DAMAGE: dict[str, tuple[Any, dict[str, Any], dict[str, Any], str]] = {
    "no mask": (GOOD, {"bitmask": None}, {}, "expected compressed .* bitmask and shape"),
    "mask": (GOOD, {"bitmask": BITS | np.uint8(1)}, {}, "to 33 in a row; compressed|say otherwise"),
    "shape": (GOOD, {"shape": np.array([16, -64])}, {}, "two positive int64 were expected"),
    "another shape": (GOOD, {"shape": np.array([16, 60])}, {}, r"\(16, 32\); expected bfloat16 \(16, 30\)"),
    "another kind": (GOOD, {}, {"sparsity_config": {"format": "sparse-bitmask"}}, "lacks its part 'row_offsets'"),
    "dense": (GOOD, {}, {"sparsity_config": {"format": "dense"}}, "with sparsity None"),
    "dtype": (GOOD, {"compressed": GOOD.parts["compressed"].astype(np.int64)}, {}, "int64"),
    "count": (ANY, {"compressed": ANY.parts["compressed"][:-1]}, {}, "row_offsets say otherwise"),
    "offsets": (ANY, {"row_offsets": ANY.parts["row_offsets"] + 1}, {}, "row_offsets say otherwise"),
    "beyond": (ANY, {"bitmask": ANY.parts["bitmask"] ^ np.array([0] * 7 + [0x80], np.uint8)}, {}, "say otherwise"),
    "no scale": (FP8, {"weight_scale": None}, {}, "lacks its part 'weight_scale'"),
    "nan": (FP8, {"weight_scale": np.full((16, 1), np.nan, ml_dtypes.bfloat16)}, {}, "nan; expected finite"),
    "scale": (FP8, {"weight_scale": np.ones((8, 1), np.float32)}, {}, r"\(8, 1\); expected"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_tensor_found_and_expected(tmp_path: Path, case: str) -> None:
    variant, change, config, said = DAMAGE[case]
    parts = {n: a for n, a in {**variant.parts, **change}.items() if a is not None}
    write(tmp_path, parts, {**variant.config, **config})
    with pytest.raises(CheckpointError, match=said) as error:
        with open_checkpoint(tmp_path) as checkpoint:
            checkpoint[f"{NAME}.weight"]
    assert NAME in str(error.value)


def halved(weight: np.ndarray) -> Packed:
    t = CTSparse.of(True, "fp8").sample(weight.shape, np.random.default_rng(weight.shape[1]))
    parts = {**t.parts, "weight_scale": t.parts["weight_scale"] * np.float32(0.05)}
    return parts, type(t)(t.format, t.shape, parts).dequantize()


def test_logits_of_a_whole_model(tmp_path: Path) -> None:
    config = FP8.config | {"ignore": ["lm_head"]}
    config.pop("float8")
    packed, dense = write_both(build("llama"), tmp_path, lambda p, w: halved if "_proj" in p else None, config)
    model, distance = compare(packed, dense)
    assert distance < 1e-4
    assert {row.way for row in model.report.rows if row.format.startswith("ct_sparse")} == {"reference"}
