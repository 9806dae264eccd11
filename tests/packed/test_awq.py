"""AWQ's layouts against autoawq's and auto-round's packers (tools/fixtures/gptq_awq.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.checkpoints.exclusions import excluded
from localq.checkpoints.methods.awq import rules
from localq.errors import CheckpointError
from localq.formats import find
from tests.packed.fixtures import NAME, assert_same, read, variants, write
from tests.packed.native import assert_rows, decoded_by_mlx

PROVES = {"awq", "awq_gemv", "awq_gemv_fast", "awq_llm"}
VARIANTS = {**variants("awq.safetensors"), **variants("llm_awq.safetensors")}


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
    held, found = t.format.to_native(t), decoded_by_mlx(t)
    assert held is not None and held.exactness == "exact" and found is not None
    np.testing.assert_array_equal(found, t.dequantize())


@pytest.mark.parametrize(
    ("config", "version"),
    [
        ({"version": "GEMM"}, "gemm"),
        ({}, "gemm"),
        ({"checkpoint_format": "gemm", "format": "gemm"}, "gemm"),
        ({"version": "gemv"}, "gemv"),
        ({"version": "gemv_fast"}, "gemv_fast"),
        ({"format": "llm-awq"}, "gemv_fast"),
        ({"version": "exllama"}, "gemm"),
    ],
)
def test_versions_by_any_name(config: dict[str, Any], version: str) -> None:
    found = rules({"quant_method": "awq", "w_bit": 4, "q_group_size": 128, **config})("model.layers.0.mlp.up_proj")
    assert found is not None and found["version"] == version
    assert (found["bits"], found["group_size"]) == (4, 128)


def test_modules_not_to_convert_are_whole_components() -> None:
    """As `should_convert_module` of transformers 5.23: an end of the name, or a start up to a component's end."""
    answer = rules({"bits": 4, "group_size": 32, "modules_to_not_convert": ["gate", "model.layers.1", "visual"]})
    expected = {"mlp.gate": True, "mlp.gate_proj": False, "model.layers.1.mlp.up_proj": True}
    expected |= {"model.layers.11.mlp.up_proj": False, "visual.blocks.0": True, "model.visual.blocks.0": False}
    assert {path: answer(path) is None for path in expected} == expected


def parts_of(name: str, **change: Any) -> dict[str, np.ndarray]:
    return {n: a for n, a in {**VARIANTS[name].parts, **change}.items() if a is not None}


DAMAGE: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "no zeros": ("gemm_4", {"qzeros": None}, {}, "recognises|qzeros"),
    "another layout": ("gemv_64", {}, {"version": "gemm"}, "version 'gemm'; the arrays lie as gemv"),
    "another width": ("gemm_4", {}, {"bits": 5}, r"'qweight' .* \(64, 4\); expected int32 \(64, 5\)"),
    "group": ("gemm_4", {}, {"group_size": 16}, r"\(2, 4\); expected int32 \(4, 4\)"),
    "a group gemv has not": ("gemv_64", {}, {"group_size": 16}, "config says 16"),
    "zero": ("gemm_4", {"scales": np.zeros((2, 32), np.float16)}, {}, "0.0; expected finite scales other than zero"),
    "products": ("fast_64", {"qzeros": np.full((16, 32), 0.3, np.float16)}, {}, "whole number from 0 to 15"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_tensor_found_and_expected(tmp_path: Path, case: str) -> None:
    name, change, config, said = DAMAGE[case]
    write(tmp_path, parts_of(name, **change), {**VARIANTS[name].config, **config})
    with pytest.raises(Exception, match=said) as error:
        open_checkpoint(tmp_path)[f"{NAME}.weight"].dequantize()
    assert isinstance(error.value, CheckpointError) or case == "no zeros"


def test_padding_of_scales_is_no_zero_scale(tmp_path: Path) -> None:
    variant = VARIANTS["gemv_64"]
    assert (variant.parts["scales"] == 0).any()
    assert read(tmp_path, variant.parts, variant.config).shape == variant.shape


@pytest.mark.parametrize(
    "entries", [["gate"], ["lm_head", "visual."], ["model.layers.1"], [r"layers\.\d+\.mlp"], ["a|b"]]
)
def test_exclusions_are_those_of_transformers(entries: list[str]) -> None:
    from transformers.quantizers.quantizers_utils import should_convert_module

    paths = [
        "lm_head",
        "model.lm_head",
        "mlp.gate",
        "mlp.gate_proj",
        "gate.up",
        "visual.blocks.0",
        "visual",
        "b.c",
        "ab",
    ]
    paths += [
        "model.layers.1",
        "model.layers.1.mlp.up_proj",
        "model.layers.11.mlp.up_proj",
        "layers.12.mlp",
        "layers.1.mlpx",
    ]
    answer = excluded({"modules_to_not_convert": entries})
    assert {path: answer(path) for path in paths} == {p: not should_convert_module(p, entries) for p in paths}
