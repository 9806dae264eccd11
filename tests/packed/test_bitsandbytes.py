"""bitsandbytes against what the package itself packs and decodes (tools/fixtures/bitsandbytes_hqq.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.formats import find
from tests.packed.fixtures import NAME, assert_same, read, variants, write
from tests.packed.native import decoded_by_mlx

PROVES = {"bnb_4bit", "bnb_int8"}
VARIANTS = variants("bitsandbytes.safetensors")
STATE = "weight.quant_state.bitsandbytes__nf4"


@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_the_peers(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    t = read(tmp_path, variant.parts, variant.config)
    assert_same(t, variant)
    assert find(t.format.name) is t.format
    whole, out = t.dequantize(), t.shape[0]
    for index in (slice(0, 8), slice(3, 11), slice(None, None, 2), np.array([out - 1, 0, 5, 5]), slice(out - 1, out)):
        np.testing.assert_array_equal(t.rows(index).dequantize(), whole[index])
    joined = t.format.join_rows([t, t])
    assert (joined is None) == (name in ("fp4_odd_rows", "nf4_nested_many")), "rows are no whole blocks"
    if joined is not None:
        np.testing.assert_array_equal(joined.dequantize(), np.concatenate([whole, whole]))


def test_the_config_is_not_needed(tmp_path: Path) -> None:
    variant = VARIANTS["nf4_double"]
    assert_same(read(tmp_path, variant.parts, {"quant_method": "bitsandbytes"}), variant)


def test_int8_in_mlx(tmp_path: Path) -> None:
    variant = VARIANTS["int8"]
    t = read(tmp_path, variant.parts, variant.config)
    held, found = t.format.to_native(t), decoded_by_mlx(t)
    assert held is not None and found is not None and held.exactness == "rounded" and held.error < 2e-5
    step = variant.parts["SCB"][:, None] / 127 + 1e-30
    assert np.max(np.abs(found - t.dequantize()) / step) <= held.error


def state(**change: object) -> np.ndarray:
    found = json.loads(VARIANTS["nf4_double"].parts[STATE].tobytes())
    found = {k: v for k, v in {**found, **change}.items() if v != "gone"}
    return np.frombuffer(json.dumps(found).encode(), np.uint8)


def text(words: str) -> np.ndarray:
    return np.frombuffer(words.encode(), np.uint8)


DOUBLE = VARIANTS["nf4_double"].parts
DAMAGE: dict[str, tuple[dict[str, np.ndarray | None], str]] = {
    "no map": ({"weight.quant_map": None}, "lacks its part 'weight.quant_map'"),
    "no absmax": ({"weight.absmax": None}, "expected weight, weight.absmax"),
    "nested alone": ({"weight.nested_absmax": None}, "nested scales, but weight.nested_absmax is missing"),
    "short": ({"weight": DOUBLE["weight"][:-1]}, r"\(511, 1\); expected uint8 \(512, 1\)"),
    "scales": ({"weight.absmax": DOUBLE["weight.absmax"][:-1]}, r"uint8 \(15,\); expected uint8 \(16,\)"),
    "shape": ({STATE: state(shape=[16, 65])}, r"expected uint8 \(520, 1\)"),
    "negative": ({STATE: state(shape=[-16, -64])}, "expected positive integers"),
    "huge": ({STATE: state(shape=[1 << 40, 64])}, "expected positive integers"),
    "axes": ({STATE: state(shape=[4, 4, 64])}, "is no matrix"),
    "block": ({STATE: state(blocksize=48)}, "a power of two"),
    "type": ({STATE: state(quant_type="fp4")}, "says 'fp4'; its name says 'nf4'"),
    "offset": ({STATE: state(nested_offset="x")}, "nested_offset x; a number"),
    "no offset": ({STATE: state(nested_offset="gone")}, "nested_offset None; a number"),
    "offset nan": ({STATE: text('{"nested_offset": NaN}')}, "NaN is no number"),
    "nested blocks": ({STATE: state(nested_blocksize=64)}, "nested_blocksize 64; localq knows 256"),
    "not json": ({STATE: text("{shape")}, "not the JSON that was expected"),
    "a list": ({STATE: text("[1]")}, "a JSON list; an object"),
    "deep": ({STATE: text("[" * 9000)}, "not the JSON that was expected"),
    "twice": ({STATE: text('{"shape": [1, 2], "shape": [16, 64]}')}, "stands in it twice"),
    "long": ({STATE: text(" " * 20000)}, "20000 bytes long"),
    "utf-8": ({STATE: np.full(9, 255, np.uint8)}, "not the JSON that was expected"),
    "map nan": ({"weight.quant_map": np.full(16, np.nan, np.float32)}, "nan; expected finite"),
    "nested inf": ({"weight.nested_absmax": np.full(1, np.inf, np.float32)}, "inf; expected finite"),
    "stranger": ({"W_q": np.zeros(3, np.int32)}, "has no part 'W_q'"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_tensor_found_and_expected(tmp_path: Path, case: str) -> None:
    change, said = DAMAGE[case]
    parts = {n: a for n, a in {**DOUBLE, **change}.items() if a is not None}
    write(tmp_path, parts, VARIANTS["nf4_double"].config)
    with pytest.raises(CheckpointError, match=said) as error:
        with open_checkpoint(tmp_path) as checkpoint:
            if checkpoint.unsupported:
                raise UnsupportedError(checkpoint.unsupported)
            checkpoint[f"{NAME}.weight"]
    assert NAME in str(error.value)


def test_config_and_tensors_disagree(tmp_path: Path) -> None:
    write(tmp_path, DOUBLE, {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "fp4"})
    with pytest.raises(CheckpointError, match="bnb_4bit_quant_type is 'fp4', the tensor's quant_state nf4"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_tiles_of_int8_are_refused_by_name(tmp_path: Path, number: int) -> None:
    variant = VARIANTS["int8"]
    write(tmp_path, {**variant.parts, "weight_format": np.array(number, np.uint8)}, variant.config)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.unsupported is not None and "an order of CUDA tiles" in checkpoint.unsupported
