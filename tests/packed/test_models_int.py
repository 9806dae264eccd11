"""Tiny Llama, Qwen2, Qwen3 and Qwen3-MoE in GPTQ and AWQ: logits of the packed model equal the dequantised one's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, LocalqError, UnsupportedError
from localq.models.loader import load_model
from tests.factories.tiny import build
from tests.packed.models import awq, compare, gptq, write_both

BOUND = 1e-4
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": True, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"}
SKIPPED = re.compile(r"embed_tokens|lm_head|mlp\.gate$")


def test_llama_gptq_with_overrides_act_order_and_zero_biases(tmp_path: Path) -> None:
    def pick(path, weight):
        if SKIPPED.search(path) or path == "model.layers.0.mlp.up_proj":
            return None
        if path.endswith("v_proj"):
            return gptq(bits=8, group=32)
        if path.endswith("k_proj"):
            return gptq(bits=3, group=128, symmetric=False)
        return gptq(scattered=path.endswith(("down_proj", "o_proj")))

    dynamic = {
        r"+:.*\.v_proj$": {"bits": 8, "group_size": 32},
        r".*\.k_proj": {"bits": 3, "group_size": 128, "sym": False},
    }
    dynamic["-:model.layers.0.mlp.up_proj"] = {}
    packed, dense = write_both(build("llama"), tmp_path, pick, {**GPTQ, "desc_act": True, "dynamic": dynamic})
    tensors = load_file(packed / "model.safetensors")
    tensors["model.layers.0.self_attn.q_proj.bias"] = np.zeros(256, np.float16)  # as old AutoGPTQ wrote them
    save_file(tensors, packed / "model.safetensors")
    model, distance = compare(packed, dense)
    assert distance < BOUND
    ways = {(row.format, row.way, row.exactness) for row in model.report.rows}
    assert ("gptq_4bit_g64", "native affine 4-bit g64 of reordered inputs", "exact") in ways
    assert ("gptq_3bit_g128_asym", "reference", "exact") in ways  # float32 biases would be a ninth more memory
    assert ("gptq_8bit_g32", "native affine 8-bit g32", "exact") in ways
    assert model.report.unused == {
        "model.layers.0.self_attn.q_proj.bias": "a bias of zeros, which the architecture has not"
    }

    tensors["model.layers.0.self_attn.q_proj.bias"][3] = 1
    save_file(tensors, packed / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"unexpected.*q_proj\.bias|q_proj\.bias.*unexpected"):
        load_model(open_checkpoint(packed))


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama3"])
def test_awq_with_biases_and_tied_heads(tmp_path: Path, name: str) -> None:
    packed, dense = write_both(build(name), tmp_path, lambda p, w: None if SKIPPED.search(p) else awq(), AWQ)
    model, distance = compare(packed, dense)
    assert distance < BOUND
    assert {row.format for row in model.report.rows} >= {"awq_4bit_g64_asym"}


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_experts_one_by_one(tmp_path: Path, method: str) -> None:
    packer, config = (gptq(), GPTQ) if method == "gptq" else (awq(group=128), {**AWQ, "group_size": 128})
    packed, dense = write_both(build("qwen3_moe"), tmp_path, lambda p, w: None if SKIPPED.search(p) else packer, config)
    model, distance = compare(packed, dense)
    assert distance < BOUND
    matrices = sum(row.matrices for row in model.report.rows if row.format.startswith(method))
    assert matrices == 2 * (4 + 3 * 4)  # 4 of attention, 3 of each of 4 experts, in 2 layers


def test_act_order_experts(tmp_path: Path) -> None:
    packed, dense = write_both(
        build("qwen3_moe"), tmp_path, lambda p, w: None if SKIPPED.search(p) else gptq(scattered=True), GPTQ
    )
    model, distance = compare(packed, dense)
    assert distance < BOUND
    assert {row.way for row in model.report.rows if row.matrices > 8} == {"reference"}


def test_a_quantised_head_and_sharded_files(tmp_path: Path) -> None:
    packed, dense = write_both(
        build("llama"),
        tmp_path,
        lambda p, w: None if "embed" in p else awq(group=128, symmetric=True),
        {**AWQ, "group_size": 128, "zero_point": False},
    )
    model, distance = compare(packed, dense)
    assert distance < BOUND
    assert {row.format for row in model.report.rows} == {"awq_4bit_g128", "f32"}
    assert "largest error" not in " ".join(model.report.lines())


def test_reference_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_KERNELS", "reference")
    packed, dense = write_both(
        build("llama"), tmp_path, lambda p, w: None if SKIPPED.search(p) else gptq(scattered=True), GPTQ
    )
    model, distance = compare(packed, dense)
    assert distance < BOUND and {row.way for row in model.report.rows} == {"reference"}


def test_settings_in_files_of_their_own(tmp_path: Path) -> None:
    """AutoGPTQ's quantize_config.json and AutoAWQ's quant_config.json, where config.json says nothing."""
    packed, dense = write_both(build("llama"), tmp_path, lambda p, w: None if SKIPPED.search(p) else gptq(), {})
    own = {k: v for k, v in GPTQ.items() if k != "quant_method"}
    (packed / "quantize_config.json").write_text(json.dumps(own))
    assert compare(packed, dense)[1] < BOUND


def test_damaged_scales_stop_a_load(tmp_path: Path) -> None:
    packed, _ = write_both(build("llama"), tmp_path, lambda p, w: None if SKIPPED.search(p) else gptq(), GPTQ)
    tensors = load_file(packed / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.scales"][1, 7] = np.nan
    save_file(tensors, packed / "model.safetensors")
    with pytest.raises(LocalqError, match=r"layers\.1\.mlp\.up_proj.*\(1, 7\): nan"):
        load_model(open_checkpoint(packed))


def test_an_unknown_method_is_refused_by_load(tmp_path: Path) -> None:
    packed, _ = write_both(
        build("llama"),
        tmp_path,
        lambda p, w: None if SKIPPED.search(p) else gptq(),
        {**GPTQ, "quant_method": "tomorrow"},
    )
    with pytest.raises(UnsupportedError, match="tomorrow"):
        load_model(open_checkpoint(packed))
