"""Tiny Llama, Qwen3, Qwen3-MoE and DeepSeek-V3 in FP8, NVFP4 and compressed-tensors' int4: the dequantised logits.

The packers are written from the published layouts and share no code with localq.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import LocalqError
from localq.models.loader import load_model
from tests.factories import every, mla, more
from tests.factories.tiny import build
from tests.models.folders import write_random
from tests.packed.models import Packed, Packer, compare, decoded, rounded, stream, write_both
from tests.packed.rawfile import save

BOUND = 1e-4
SKIPPED = re.compile(r"embed_tokens|lm_head|mlp\.gate$")
E4M3 = ml_dtypes.float8_e4m3fn
LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def group(targets: list[str], form: str, **weights: Any) -> dict[str, Any]:
    return {"targets": targets, "format": form, "weights": {"symmetric": True, "group_size": None, **weights}}


INT4 = group(["Linear"], "pack-quantized", num_bits=4, type="int", strategy="group", group_size=64)
CHANNEL = group(["re:.*self_attn.*"], "float-quantized", num_bits=8, type="float", strategy="channel")
CT = {
    "quant_method": "compressed-tensors",
    "format": "mixed-precision",
    "config_groups": {"group_0": INT4, "group_1": CHANNEL},
    "ignore": ["lm_head", "re:.*mlp.gate$"],
    "version": "0.14.0",
}
BLOCKS = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128], "fmt": "e4m3"}


def ct_int4(weight: np.ndarray) -> Packed:
    codes, scales, zeros, index = rounded(weight, 4, 64, symmetric=True)
    shape = np.array(weight.shape, np.int64)
    parts = {"weight_packed": stream(codes, 4), "weight_scale": scales, "weight_shape": shape}
    return parts, decoded(codes, scales, zeros, index)


def channel(weight: np.ndarray) -> Packed:
    scales = (np.abs(weight).max(axis=1, keepdims=True) / 448).astype(ml_dtypes.bfloat16)
    codes = np.clip(weight / scales.astype(np.float32), -448, 448).astype(E4M3)
    return {"weight": codes, "weight_scale": scales}, codes.astype(np.float32) * scales.astype(np.float32)


def block(powers: bool = False) -> Packer:
    """128 x 128, the last blocks short; scales float32, or powers of two in E8M0."""

    def pack(weight: np.ndarray) -> Packed:
        rows, columns = (np.arange(side) // 128 for side in weight.shape)
        scales = np.zeros((rows[-1] + 1, columns[-1] + 1), np.float32)
        np.maximum.at(scales, (rows[:, None], columns[None, :]), np.abs(weight) / 448)
        if powers:
            scales = np.exp2(np.ceil(np.log2(scales))).astype(np.float32)
        wide = scales[rows][:, columns]
        codes = np.clip(weight / wide, -448, 448).astype(E4M3)
        stored = scales.astype(ml_dtypes.float8_e8m0fnu) if powers else scales
        return {"weight": codes, "weight_scale_inv": stored}, codes.astype(np.float32) * wide

    return pack


def e2m1(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes, the even input in the low nibble, and values."""
    nearest = np.abs(np.abs(scaled)[..., None] - LEVELS).argmin(axis=-1)
    nibbles = nearest + 8 * (scaled < 0)
    return (nibbles[:, 0::2] + 16 * nibbles[:, 1::2]).astype(np.uint8), np.where(scaled < 0, -1, 1) * LEVELS[nearest]


def nvfp4(divides: bool) -> Packer:
    """ModelOpt's, whose second scale multiplies, or compressed-tensors', whose divides."""

    def pack(weight: np.ndarray) -> Packed:
        whole = np.float32(np.abs(weight).max() / (6 * 448))
        if divides:
            whole = np.float32(1) / np.float32(np.round(1 / whole))
        peaks = np.abs(weight).reshape(len(weight), -1, 16).max(axis=-1)
        scales = np.clip(peaks / 6 / whole, 2**-9, 448).astype(E4M3)
        stored = np.float32(1) / whole
        true = scales.astype(np.float32) / stored if divides else scales.astype(np.float32) * whole
        wide = np.repeat(true, 16, axis=1)
        packed, values = e2m1(weight / wide)
        if divides:
            parts = {"weight_packed": packed, "weight_scale": scales, "weight_global_scale": np.array([stored])}
        else:
            parts = {"weight": packed, "weight_scale": scales, "weight_scale_2": np.array(whole)}
        return parts, (values * wide).astype(np.float32)

    return pack


def ways(model: Any) -> dict[str, str]:
    return {row.format: row.way for row in model.report.rows}


def test_llama_with_int4_and_fp8_of_compressed_tensors(tmp_path: Path) -> None:
    def pick(path: str, weight: np.ndarray) -> Packer | None:
        return None if SKIPPED.search(path) else channel if "self_attn" in path else ct_int4

    model, distance = compare(*write_both(build("llama"), tmp_path, pick, CT))
    assert distance < BOUND
    found = ways(model)
    assert found["fp8_e4m3_channel"].startswith("native mxfp8")
    assert any(name.startswith("ct_int4") and way.startswith("native affine 4-bit") for name, way in found.items())


@pytest.mark.parametrize("powers", [False, True], ids=["float", "ue8m0"])
def test_qwen3_in_blocks(tmp_path: Path, powers: bool) -> None:
    """Head and embedding stay as they are; a matrix the blocks do not divide has short ones."""
    config = {**BLOCKS, "scale_fmt": "ue8m0" if powers else "float", "modules_to_not_convert": ["lm_head"]}
    model = build("qwen3", intermediate_size=320)
    got, distance = compare(
        *write_both(model, tmp_path, lambda p, w: None if SKIPPED.search(p) else block(powers), config)
    )
    assert distance < BOUND
    if powers:
        assert ways(got)["fp8_e4m3_block128_powers_inv"].startswith("native mxfp8")
    else:
        assert ways(got)["fp8_e4m3_block128_inv"] == "reference"


@pytest.mark.parametrize("divides", [False, True], ids=["modelopt", "compressed-tensors"])
def test_qwen3_in_nvfp4(tmp_path: Path, divides: bool) -> None:
    weights = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
    ct = {**CT, "config_groups": {"group_0": group(["Linear"], "nvfp4-pack-quantized", **weights)}}
    config = ct if divides else {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}
    model, distance = compare(
        *write_both(build("qwen3"), tmp_path, lambda p, w: None if SKIPPED.search(p) else nvfp4(divides), config)
    )
    assert distance < BOUND
    assert ways(model)["nvfp4_packed" if divides else "nvfp4_modelopt"].startswith("native nvfp4")


@pytest.mark.parametrize("kind", ["block", "channel", "nvfp4"])
def test_experts_one_by_one(tmp_path: Path, kind: str) -> None:
    """Every expert with scales of its own, the one of the whole matrix among them."""
    algo = {"channel": "FP8_PER_CHANNEL_PER_TOKEN", "nvfp4": "NVFP4"}.get(kind)
    config = {"quant_method": "modelopt", "quant_algo": algo, "ignore": ["lm_head"]} if algo else BLOCKS
    packer = {"block": block(), "channel": channel, "nvfp4": nvfp4(divides=False)}[kind]
    model, distance = compare(
        *write_both(build("qwen3_moe"), tmp_path, lambda p, w: None if SKIPPED.search(p) else packer, config)
    )
    assert distance < BOUND
    matrices = sum(row.matrices for row in model.report.rows if row.format.startswith(("fp8", "nvfp4")))
    assert matrices == 2 * (4 + 3 * 4)  # 4 of attention, 3 of each of 4 experts, in 2 layers


@pytest.mark.parametrize("powers", [False, True], ids=["float", "ue8m0"])
def test_latent_attention_whose_heads_cut_blocks(tmp_path: Path, powers: bool) -> None:
    """DeepSeek-V3: `kv_b_proj` is 4 heads of 32 + 64 rows, blocks are 128 rows; it is split by head while loading."""
    model = more.make("deepseek_v3", mla.CASES["deepseek_v3"])
    config = {**BLOCKS, "scale_fmt": "ue8m0"} if powers else BLOCKS
    packed, dense = write_both(model, tmp_path, lambda p, w: None if SKIPPED.search(p) else block(powers), config)
    name = "fp8_e4m3_block128_powers_inv" if powers else "fp8_e4m3_block128_inv"
    with open_checkpoint(packed) as checkpoint:
        spec = checkpoint.specs["model.layers.0.self_attn.kv_b_proj.weight"]
        assert spec.shape == (384, 64) and spec.format == name
    got, distance = compare(packed, dense)
    assert distance < BOUND
    forms = {one for row in got.report.rows for one in row.format.split("+")}
    assert forms == {name, "fp8_e4m3_group128_powers" if powers else "fp8_e4m3_group128", "f32"}


@pytest.mark.parametrize("kind", ["block", "halves"])
def test_experts_stacked_by_transformers(tmp_path: Path, kind: str) -> None:
    """`experts.gate_up_proj [E, 2I, H]` of Qwen3.5: one matrix and its scales, gate above up."""
    dense = write_random(tmp_path / "dense", every.config("qwen3_5_moe"))
    tensors = {n: np.array(w.astype(mx.float32)) for n, w in mx.load(str(dense / "model.safetensors")).items()}
    stem = re.compile(r"(.*\.mlp)\.switch_mlp\.(gate|up|down)_proj\.weight")
    stacks: dict[str, dict[str, np.ndarray]] = {}
    packed: dict[str, np.ndarray] = {}
    for name, w in tensors.items():
        if found := stem.fullmatch(name):
            stacks.setdefault(found[1], {})[found[2]] = w
        else:
            packed[name] = w
    for path, one in stacks.items():
        both = np.concatenate([one["gate"], one["up"]], axis=1)
        for last, stack in (("gate_up", both), ("down", one["down"])):
            name, halves = f"{path}.experts.{last}_proj", 2 if last == "gate_up" else 1
            packed[name], packed[f"{name}_scale_inv"], values = stacked(stack, kind, halves)
            if last == "down":
                tensors[f"{path}.switch_mlp.down_proj.weight"] = values
            else:
                gate, up = np.split(values, 2, axis=1)
                tensors |= {f"{path}.switch_mlp.gate_proj.weight": gate, f"{path}.switch_mlp.up_proj.weight": up}
    assert stacks
    save(dense / "model.safetensors", tensors, {"format": "pt"})
    folder = tmp_path / "packed"
    folder.mkdir()
    save(folder / "model.safetensors", packed)
    config = json.loads((dense / "config.json").read_text())
    own = BLOCKS if kind == "block" else {"quant_method": "fp8", "weight_block_size": None}
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": own}))
    model, distance = compare(folder, dense)
    assert distance < BOUND
    assert any(row.format.startswith("fp8_e4m3") for row in model.report.rows)


def stacked(stack: np.ndarray, kind: str, halves: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes [E, out, in], scales as transformers 5 shapes them, weights."""
    codes, scales, values = [], [], []
    for matrix in stack:
        if kind == "block":
            parts, w = block()(matrix)
            one = parts["weight_scale_inv"]
        else:
            one = np.abs(matrix).reshape(halves, -1).max(axis=1)[:, None].astype(np.float32) / np.float32(448)
            wide = np.repeat(one, len(matrix) // halves, axis=0)
            parts = {"weight": np.clip(matrix / wide, -448, 448).astype(E4M3)}
            w = parts["weight"].astype(np.float32) * wide
        codes.append(parts["weight"])
        scales.append(one)
        values.append(w)
    return np.stack(codes), np.stack(scales), np.stack(values)


def test_damaged_scales_stop_a_load(tmp_path: Path) -> None:
    def pick(path: str, weight: np.ndarray) -> Packer | None:
        if path != "model.layers.1.mlp.up_proj":
            return None if SKIPPED.search(path) else block()
        return broken

    def broken(weight: np.ndarray) -> Packed:
        parts, values = block()(weight)
        stored = np.array(parts["weight_scale_inv"])
        stored[1, 0] = np.inf
        return {**parts, "weight_scale_inv": stored}, values

    packed, _ = write_both(build("llama"), tmp_path, pick, BLOCKS)
    with pytest.raises(LocalqError, match=r"layers\.1\.mlp\.up_proj.*\(1, 0\): inf"):
        load_model(open_checkpoint(packed))
