"""Tiny Llama, Qwen3 and Qwen3-MoE in bitsandbytes, HQQ, BitNet, TQ and EXL3: logits of the dequantised model.

The packers are the plainest writers of the published layouts; that the layouts are the packages' is proved beside, on
files of the packages themselves.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.formats import FORMATS
from localq.models.loader import load_model
from tests.factories.tiny import build
from tests.packed.models import Packed, Packer, compare, write_both

BOUND = 1e-4
SKIPPED = re.compile(r"embed_tokens|lm_head|mlp\.gate$")
NF4 = np.sort(np.random.default_rng(4).uniform(-1, 1, 16)).astype(np.float32)  # any table will do


def nf4(weight: np.ndarray) -> Packed:
    blocks = weight.reshape(-1, 64)
    absmax = np.abs(blocks).max(axis=1).astype(np.float32)
    codes = np.abs(blocks[..., None] / absmax[:, None, None] - NF4).argmin(axis=-1)
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": list(weight.shape)}
    flat = codes.reshape(-1).astype(np.uint8)
    parts = {"weight": (flat[::2] * 16 + flat[1::2])[:, None], "weight.absmax": absmax, "weight.quant_map": NF4}
    parts["weight.quant_state.bitsandbytes__nf4"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    return parts, (NF4[codes] * absmax[:, None]).reshape(weight.shape)


def int8(weight: np.ndarray) -> Packed:
    scale = np.abs(weight).max(axis=1).astype(np.float32)
    codes = np.rint(weight / scale[:, None] * 127).astype(np.int8)
    return {"weight": codes, "SCB": scale}, codes * scale[:, None] / np.float32(127)


def hqq(bits: int, group: int, axis: int = 1) -> Packer:
    """Bits 4 or 8."""

    def pack(weight: np.ndarray) -> Packed:
        matrix = weight.reshape(-1, group) if axis else weight.reshape(group, -1)
        low, high = matrix.min(axis=axis, keepdims=True), matrix.max(axis=axis, keepdims=True)
        scale = ((high - low) / ((1 << bits) - 1)).astype(np.float32)
        zero = (-low / scale).astype(np.float32)
        codes = np.clip(np.rint(matrix / scale + zero), 0, (1 << bits) - 1).astype(np.uint8)
        half = len(codes) // 2
        words = codes if bits == 8 else codes[:half] << 4 | codes[half:]
        said = {"nbits": bits, "group_size": group, "axis": axis}
        parts = {"W_q": words, "scale": scale, "zero": zero, "shape": np.array(weight.shape)}
        parts |= {name: np.array(value, np.int32) for name, value in said.items()}
        parts["packing"] = np.frombuffer(b"8bit_u8" if bits == 8 else b"4bit_u8", np.uint8)
        return parts, ((codes - zero) * scale).reshape(weight.shape).astype(np.float32)

    return pack


def bitnet(divides: bool) -> Packer:
    def pack(weight: np.ndarray) -> Packed:
        mean = np.float32(np.abs(weight).mean())
        codes = (np.clip(np.rint(weight / mean), -1, 1) + 1).astype(np.uint8)
        quarter = len(codes) // 4
        rows = sum(codes[i * quarter : (i + 1) * quarter] << 2 * i for i in range(4))
        scale = np.array([1 / mean if divides else mean], np.float32)
        dense = (codes.astype(np.float32) - 1) * (1 / scale if divides else scale)
        return {"weight": rows.astype(np.uint8), "weight_scale": scale}, dense.astype(np.float32)

    return pack


def own(name: str) -> Packer:
    """localq's writer and decoder: shows how a model of this format is loaded, not that it is right."""

    def pack(weight: np.ndarray) -> Packed:
        t = FORMATS[name].quantize(weight)
        return dict(t.parts), t.dequantize()

    return pack


def random_trellis(weight: np.ndarray) -> Packed:
    from localq.formats.exl3 import EXL3

    t = EXL3.of(3, "mcg").sample(weight.shape, np.random.default_rng(weight.shape[0]))
    parts = {n: np.array(p) for n, p in t.parts.items()}
    parts["suh"] = (parts["suh"] * np.float16(0.05)).astype(np.float16)
    dense = type(t)(t.format, t.shape, parts).dequantize()
    return parts | {"mcg": np.array(0, np.int32)}, dense


BNB4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
BNB8 = {"quant_method": "bitsandbytes", "load_in_8bit": True}
HQQ = {"quant_method": "hqq", "skip_modules": ["lm_head"]}
BIT: dict[str, Any] = {"quant_method": "bitnet", "linear_class": "autobitlinear"}
CASES: dict[str, tuple[str, Packer, dict[str, Any], str]] = {
    "nf4 llama": ("llama", nf4, BNB4, "reference"),
    "nf4 qwen3": ("qwen3", nf4, BNB4, "reference"),
    "nf4 moe": ("qwen3_moe", nf4, BNB4, "reference"),
    "int8 llama": ("llama", int8, BNB8, "native affine 8-bit g128 x channel scale"),
    "int8 moe": ("qwen3_moe", int8, BNB8, "native affine 8-bit g128 x channel scale"),
    "hqq llama": ("llama", hqq(8, 128), HQQ, "native affine 8-bit g128"),
    "hqq4 qwen3": ("qwen3", hqq(4, 64), HQQ, "reference"),
    "hqq axis 0": ("llama", hqq(4, 64, 0), HQQ, "reference"),
    "hqq moe": ("qwen3_moe", hqq(4, 64), HQQ, "reference"),
    "bitnet llama": ("llama", bitnet(False), BIT, "native affine 2-bit g128 x matrix scale"),
    "bitlinear qwen3": ("qwen3", bitnet(True), {"quant_method": "bitnet"}, "native affine 2-bit g128 x matrix scale"),
    "bitnet moe": ("qwen3_moe", bitnet(False), BIT, "native affine 2-bit g128 x matrix scale"),
    "tq4 qwen3": ("qwen3", own("tq4"), {"quant_method": "tq"}, "reference"),
    "tq3 moe": ("qwen3_moe", own("tq3"), {"quant_method": "tq"}, "reference"),
}


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_the_dequantised_model(tmp_path: Path, case: str) -> None:
    arch, packer, config, way = CASES[case]
    packed, dense = write_both(build(arch), tmp_path, lambda p, w: None if SKIPPED.search(p) else packer, config)
    model, distance = compare(packed, dense)
    assert distance < BOUND
    family = {row.way for row in model.report.rows if row.format not in ("f32", "bf16", "f16")}
    assert family == {way}


@pytest.mark.parametrize("case", ["nf4 llama", "hqq llama", "bitnet llama"])
def test_reference_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setenv("LOCALQ_KERNELS", "reference")
    arch, packer, config, _ = CASES[case]
    packed, dense = write_both(build(arch), tmp_path, lambda p, w: None if SKIPPED.search(p) else packer, config)
    assert compare(packed, dense)[1] < BOUND


def test_trellises(tmp_path: Path) -> None:
    pick = re.compile(r"(gate|up|down)_proj$")
    packed, dense = write_both(
        build("llama"), tmp_path, lambda p, w: random_trellis if pick.search(p) else None, {"quant_method": "exl3"}
    )
    assert compare(packed, dense)[1] < BOUND


def test_online_bitnet(tmp_path: Path) -> None:
    """Float master weights: the same numbers as packed ones made of them."""

    def master(weight: np.ndarray) -> Packed:
        return {"weight": weight}, bitnet(False)(weight)[1]

    config = {**BIT, "quantization_mode": "online"}
    packed, dense = write_both(build("llama"), tmp_path, lambda p, w: None if SKIPPED.search(p) else master, config)
    model, distance = compare(packed, dense)
    assert distance < BOUND
    assert "native affine 2-bit g128 x matrix scale" in {row.way for row in model.report.rows}


def test_damaged_scales_stop_a_load(tmp_path: Path) -> None:
    packed, _ = write_both(build("llama"), tmp_path, lambda p, w: None if SKIPPED.search(p) else nf4, BNB4)
    tensors = load_file(packed / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight.absmax"][7] = np.nan
    save_file(tensors, packed / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj.*absmax.*\(7,\): nan; expected finite"):
        load_model(open_checkpoint(packed))


def rotated(*places: str) -> dict[str, Any]:
    applied = [{"targets": ["Linear"], "location": place, "inverse": False, "ignore": []} for place in places]
    return {**BNB8, "transform_config": {"config_groups": {"R": {"type": "hadamard", "apply": applied}}}}


def test_rotations_folded_into_weights_are_no_matter(tmp_path: Path) -> None:
    config = rotated("weight_input", "weight_output")
    packed, dense = write_both(build("llama"), tmp_path, lambda p, w: None if SKIPPED.search(p) else int8, config)
    assert compare(packed, dense)[1] < BOUND


def test_qtip_is_refused_by_name(tmp_path: Path) -> None:
    def qtip(weight: np.ndarray) -> Packed:
        return {name: np.zeros((4, 4), np.int16) for name in ("trellis", "SU", "SV", "tlut")}, weight

    packed, _ = write_both(build("llama"), tmp_path, lambda p, w: None if SKIPPED.search(p) else qtip, {})
    with pytest.raises(UnsupportedError, match="are QTIP's"):
        load_model(open_checkpoint(packed))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (rotated("weight_output", "v_cache"), r"transform_config rotates activations at run time \(v_cache\)"),
        (rotated("q_attn"), r"rotates queries or keys alone \(q_attn\)"),
        ({**BNB8, "transform_config": ["R4"]}, "not understood"),
        ({**BNB8, "rotation_config": {"hadamard_type": "hadamard"}}, "rotation_config"),
        ({"quant_method": "eetq"}, "EETQ stores int8 weights in an order of CUDA tensor-core tiles"),
        ({"quant_method": "sinq"}, "SINQ"),
        ({"quant_method": "bitnet", "use_rms_norm": True}, "use_rms_norm puts a norm before every linear layer"),
    ],
)
def test_refused_by_name(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    packed, _ = write_both(build("llama"), tmp_path, lambda p, w: None if SKIPPED.search(p) else int8, config)
    with pytest.raises(UnsupportedError, match=said) as error:
        load_model(open_checkpoint(packed))
    assert "quantise the original" in str(error.value) or "can be run" in str(error.value)
