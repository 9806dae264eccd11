"""GPTQ against what gptqmodel and auto-round decode of their own packers' files (tools/fixtures/gptq_awq.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.checkpoints.methods.gptq import rules
from localq.errors import CheckpointError, UnsupportedError
from localq.formats import find
from localq.formats.base import PackedTensor
from tests.packed.fixtures import NAME, assert_same, read, shown, variants, write
from tests.packed.native import assert_rows, decoded_by_mlx

PROVES = {"gptq"}
VARIANTS = variants("gptq.safetensors")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_the_peers(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    t = read(tmp_path, variant.parts, variant.config)
    assert_same(t, variant)
    assert find(t.format.name) is t.format
    assert_rows(t)


@pytest.mark.parametrize("name", VARIANTS)
def test_mlx_decodes_the_same_weights(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    t = read(tmp_path, variant.parts, variant.config)
    found = decoded_by_mlx(t)
    assert (found is None) == (name in ("v1_4_g16",)), "groups of 16 have no MLX mode"
    if found is not None:
        held = t.format.to_native(t)
        assert held is not None and held.exactness == "exact" and held.error == 0
        assert (held.input_order is not None) == ("order" in name)
        np.testing.assert_array_equal(found, t.dequantize())


def hand(bits: int, stored: int, kind: str) -> PackedTensor:
    """32 outputs of zero codes and unit scales, whose first stored zero point is `stored`, the others `stored` too."""
    form = find(f"gptq{kind}_{bits}bit_g32_asym")
    assert form is not None
    layout = form.layout((32, 32))
    fields = np.unpackbits(np.full((32, 1), stored, np.uint8), axis=-1, count=bits, bitorder="little")
    words = np.packbits(fields.reshape(1, -1), axis=-1, bitorder="little").view(np.int32)
    return PackedTensor(
        form,
        (32, 32),
        {
            "qweight": np.zeros(layout["qweight"].shape, np.int32),
            "qzeros": words,
            "scales": np.ones((1, 32), np.float16),
        },
    )


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
def test_zero_points_of_version_1_wrap_and_of_version_2_do_not(bits: int) -> None:
    top = (1 << bits) - 1
    assert np.all(hand(bits, top, "").dequantize() == 0)  # (15 + 1) modulo 16
    assert np.all(hand(bits, top, "_v2").dequantize() == -top)
    assert np.all(hand(bits, 0, "").dequantize() == -1)


def test_whole_words_borrow() -> None:
    """gptqmodel: the zero points 0, 8, 8, ... less 0x11111111 are stored as 15, 6, 7, ..."""
    form = find("gptq_w_4bit_g32_asym")
    assert form is not None
    t = hand(4, 0, "_w")
    word = (0x88888880 - 0x11111111) & 0xFFFFFFFF
    assert [word >> 4 * i & 15 for i in range(3)] == [15, 6, 7]
    parts = {**t.parts, "qzeros": np.full((1, 4), word, np.uint32).view(np.int32)}
    weights = PackedTensor(form, (32, 32), parts).dequantize()
    np.testing.assert_array_equal(weights[:, 0], [0, -8, -8, -8, -8, -8, -8, -8] * 4)


def test_3_bits_in_planes_are_not_3_bits_in_a_stream(tmp_path: Path) -> None:
    variant = VARIANTS["p_3_asym"]
    (tmp_path / "a").mkdir()
    stream = read(tmp_path / "a", variant.parts, {**variant.config, "checkpoint_format": "gptq_v2"})
    assert not np.array_equal(shown(stream.dequantize()), variant.rows)


CONFIG = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True}


def test_dynamic_rules() -> None:
    """Cases answered by gptqmodel 7.7.0's own `dynamic_get` on the same configs."""
    dynamic = {
        r"+:.*\.18\..*gate.*": {"bits": 8},
        r"-:.*\.mlp\.gate$": {},
        r".*\.down_proj": {"bits": 3, "group_size": 64},
        "-:lm_head": {},
        r"+:^model\.layers\.1\.mlp\.up_proj$": {"bits": 2},
        "model.layers.1": {"bits": 5},
    }
    answer = rules({**CONFIG, "dynamic": dynamic})
    expected = {
        "model.layers.18.mlp.gate_proj": 8,
        "model.layers.18.mlp.gate": 8,  # the first that matches
        "model.layers.2.mlp.gate": None,
        "model.layers.2.mlp.down_proj": 3,
        "lm_head": None,
        "lm_head.x": None,  # from the start, no end
        "model.lm_head": 4,
        "model.layers.1.mlp.up_proj": 2,
        "model.layers.10.mlp.up_proj": 5,
        "model.layers.3.mlp.up_proj": 4,
    }
    found = {path: answer(path) for path in expected}
    assert {path: None if own is None else own["bits"] for path, own in found.items()} == expected
    down = found["model.layers.2.mlp.down_proj"]
    assert down is not None and down["group_size"] == 64


def test_a_module_with_an_override(tmp_path: Path) -> None:
    variant = VARIANTS["v1_8_sym"]
    config = {**variant.config, "bits": 4, "dynamic": {r"+:.*up_proj": {"bits": 8}}}
    assert_same(read(tmp_path, variant.parts, config), variant)


def test_a_packed_module_that_the_config_excludes(tmp_path: Path) -> None:
    variant = VARIANTS["v1_4_sym"]
    for extra in ({"dynamic": {"-:.*up_proj": {}}}, {"modules_to_not_convert": ["up_proj"]}):
        write(tmp_path, variant.parts, {**variant.config, **extra})
        with pytest.raises(CheckpointError, match=r"up_proj.*excludes this module, which is stored as .*qweight"):
            open_checkpoint(tmp_path)


def changed(parts: dict[str, np.ndarray], **change: np.ndarray | None) -> dict[str, np.ndarray]:
    return {n: a for n, a in {**parts, **change}.items() if a is not None}


SMALL = VARIANTS["v1_4_sym"].parts
DAMAGE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no scales": ({"scales": None}, {}, "scales are missing"),
    "no zeros": ({"qzeros": None}, {}, "lacks its part 'qzeros'"),
    "a shape": ({"scales": SMALL["scales"][:, :-1]}, {}, r"'scales' .* \(2, 31\); expected .* \(2, 32\)"),
    "a dtype": ({"qzeros": SMALL["qzeros"].astype(np.int64)}, {}, "int64.*expected int32"),
    "bits": ({}, {"bits": 8}, "8 bits in groups of 32: 32 inputs, 1 groups; scales are"),
    "group": ({}, {"group_size": 64}, "64 inputs, 1 groups; scales are"),
    "no group": ({}, {"group_size": "128"}, "group_size is '128'; an integer"),
    "zero": ({"scales": np.zeros_like(SMALL["scales"])}, {}, r"64 scales.* \(0, 0\): 0.0; expected finite"),
    "nan": ({"scales": np.full_like(SMALL["scales"], np.nan)}, {}, "nan; expected finite"),
    "order": ({"g_idx": np.full(64, 2, np.int32)}, {}, "groups 2 to 2; it has 2"),
    "stranger": ({"W_q": np.zeros(3, np.int32)}, {}, "has no part 'W_q'"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_tensor_found_and_expected(tmp_path: Path, case: str) -> None:
    parts, config, said = DAMAGE[case]
    variant = VARIANTS["v1_4_sym"]
    write(tmp_path, changed(variant.parts, **parts), {**variant.config, **config})
    with pytest.raises(CheckpointError, match=said) as error:
        open_checkpoint(tmp_path)[f"{NAME}.weight"]
    assert NAME in str(error.value)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"bits": 9}, "bits 9; localq knows 2, 3"),
        ({"checkpoint_format": "gptq_v9"}, "gptq_v9"),
        ({"checkpoint_format": "marlin"}, "marlin.*CUDA kernel"),
        ({"is_marlin_format": True}, "Marlin"),
        ({"pack_dtype": "int16"}, "int16"),
        ({"dynamic": {r"+:(?<=x)y": {}}}, "group"),
    ],
)
def test_what_is_not_known_is_refused_by_name(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    variant = VARIANTS["v1_4_sym"]
    with open_checkpoint(write(tmp_path, variant.parts, {**variant.config, **config})) as checkpoint:
        assert checkpoint.unsupported is not None
        with pytest.raises(UnsupportedError, match=said):
            raise UnsupportedError(checkpoint.unsupported)
