"""Loading peaks at the packed size of the model, the working set of one tensor, and the index of the arrays.

Random folders of 10 to 30 MB, dense and with experts (one by one and stacked), each loaded in a process of its own that
has loaded a tiny one of the same kind before, so that no code page counts. MLX's modes are taken as on a GPU. What may
be held is written down here from the shapes, see `bound`, not from what was seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

from tests.factories.tiny import build
from tests.packed.rawfile import save

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc"),
    pytest.mark.slow,
]
Parts = dict[str, np.ndarray]
RNG = np.random.default_rng(0)
BLOCK = 1 << 21  # weights that are repacked at a time
TEMPORARY = 8  # bytes for each of them: codes, their order, packed words, float32 scales
INDEX = 1024  # bytes for each stored array: its name, shape and place, the views of it, its rows' provenance
ROUNDING = 2 * (1 << 21) + (1 << 20)  # the file's huge pages at both ends of an array; arenas of two allocators
_CHILD = """
import json, sys
from localq.checkpoints import open_checkpoint
from localq.models.loader import load_model

def memory(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))

with open_checkpoint(sys.argv[1]) as tiny:
    load_model(tiny)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
baseline = memory("VmRSS")
checkpoint = open_checkpoint(sys.argv[2])
model, _ = load_model(checkpoint)
ways = sorted({row.way for row in model.report.rows if row.format not in ("f32", "bf16", "f16")})
print(json.dumps({"packed": checkpoint.nbytes, "load": memory("VmHWM") - baseline, "ways": ways}))
"""


def words(*shape: int) -> np.ndarray:
    return RNG.integers(-(1 << 31), 1 << 31, shape, np.int64).astype(np.int32)


def octets(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def awq(out: int, width: int) -> Parts:
    scales = np.full((width // 128, out), 1e-3, np.float16)
    return {"qweight": words(width, out // 8), "qzeros": words(width // 128, out // 8), "scales": scales}


def gptq(out: int, width: int) -> Parts:
    groups = width // 128
    parts = {"qweight": words(width // 8, out), "qzeros": np.full((groups, out // 8), 0x77777777, np.int32)}
    order = RNG.permutation(np.arange(width) // 128).astype(np.int32)
    return {**parts, "scales": np.full((groups, out), 1e-3, np.float16), "g_idx": order}


def nvfp4(out: int, width: int) -> Parts:
    scales = np.full((out, width // 16), 2, ml_dtypes.float8_e4m3fn)
    parts = {"weight_packed": octets(out, width // 2), "weight_scale": scales}
    return {**parts, "weight_global_scale": np.array([2000], np.float32)}


def ct_int4(out: int, width: int) -> Parts:
    parts = {"weight_packed": words(out, width // 8), "weight_shape": np.array([out, width], np.int64)}
    return {**parts, "weight_scale": np.full((out, width // 128), 1e-3, ml_dtypes.bfloat16)}


def fp8(out: int, width: int) -> Parts:
    codes = RNG.integers(0, 0x7E, (out, width), np.uint8).view(ml_dtypes.float8_e4m3fn)
    return {"weight": codes, "weight_scale_inv": np.full((-(-out // 128), -(-width // 128)), 1e-4, np.float32)}


def mlx(out: int, width: int, *lead: int) -> Parts:
    scales = np.full((*lead, out, width // 64), 1e-3, np.float16)
    return {"weight": words(*lead, out, width // 8).view(np.uint32), "scales": scales, "biases": -8 * scales}


def _ct(form: str, bits: int, **more: Any) -> dict[str, Any]:
    weights = {"num_bits": bits, "symmetric": True, "dynamic": False, **more}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "ignore": ["lm_head", "re:.*mlp.gate$"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }


CT4 = _ct("pack-quantized", 4, type="int", strategy="group", group_size=128)
NVFP4 = _ct("nvfp4-pack-quantized", 4, type="float", strategy="tensor_group", group_size=16)
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
MLX = {"bits": 4, "group_size": 64}
WIDE = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 5, "head_dim": 128}
SMALL = {"hidden_size": 128, "moe_intermediate_size": 128, "num_experts": 256, "num_hidden_layers": 2}
LARGE = {"hidden_size": 512, "moe_intermediate_size": 512, "num_experts": 16, "num_hidden_layers": 3}


class Case(NamedTuple):
    """An architecture and its sizes, how its matrices are packed, and what the config says of that."""

    architecture: str
    sizes: dict[str, Any]
    pack: Callable[..., Parts]
    settings: dict[str, Any]
    stacked: bool = False
    bits: float = 0  # of a weight in MLX's mode, if that is more than is stored: AWQ's zero points become float32


CASES = {
    "awq": Case("llama", WIDE, awq, AWQ, bits=4 + 64 / 128),
    "one gptq matrix larger than a block": Case(
        "llama", {**WIDE, "intermediate_size": 12288, "num_hidden_layers": 1}, gptq, GPTQ, bits=4 + 32 / 128
    ),
    "ct nvfp4": Case("llama", WIDE, nvfp4, NVFP4),
    "ct int4": Case("llama", WIDE, ct_int4, CT4),
    "256 small experts in gptq": Case("qwen3_moe", SMALL, gptq, GPTQ, bits=4 + 32 / 128),
    "256 small experts in fp8 blocks": Case("qwen3_moe", SMALL, fp8, FP8),
    "16 experts in awq": Case("qwen3_moe", LARGE, awq, AWQ, bits=4 + 64 / 128),
    "16 experts in nvfp4": Case("qwen3_moe", LARGE, nvfp4, NVFP4),
    "stacked experts in mlx's affine": Case("qwen3_moe", LARGE, mlx, MLX, stacked=True),
}


def write(folder: Path, case: Case, sizes: dict[str, Any]) -> int:
    """The packed folder; bytes that loading it may take beside its packed size."""
    model = build(case.architecture, **sizes)
    tensors: Parts = {}
    stacks: dict[str, list[np.ndarray]] = {}
    units: dict[str, int] = {}  # a matrix, or a stack of experts: its stored bytes
    largest = weights = 0
    for name, weight in model.weights.items():
        path = name.removesuffix(".weight")
        if weight.ndim != 2 or path.endswith(("embed_tokens", "lm_head", "mlp.gate")):
            tensors[name] = weight
            continue
        stem, _, last = path.rpartition(".experts.")
        unit = f"{stem}.switch_mlp.{last.partition('.')[2]}" if stem else path
        largest, weights = max(largest, weight.size), weights + weight.size
        if stem and case.stacked:
            stacks.setdefault(unit, []).append(weight)
            continue
        parts = case.pack(*weight.shape)
        units[unit] = units.get(unit, 0) + sum(a.nbytes for a in parts.values())
        tensors |= {f"{path}.{part}": array for part, array in parts.items()}
    for unit, matrices in stacks.items():
        parts = case.pack(*matrices[0].shape, len(matrices))
        units[unit] = sum(a.nbytes for a in parts.values())
        tensors |= {f"{unit}.{part}": array for part, array in parts.items()}
    finish(folder, model.config, tensors, case.settings)
    grown = max(0, int(weights * case.bits / 8) - sum(units.values()))
    return bound(max(units.values()), largest, len(tensors)) + grown


def bound(unit: int, matrix: int, arrays: int) -> int:
    """What is held beside the packed model: the file pages of the matrix (or stack) that is placed, one block of it
    while it is repacked, and the index."""
    return unit + TEMPORARY * min(matrix, BLOCK) + INDEX * arrays + ROUNDING


def finish(folder: Path, config: dict[str, Any], tensors: Parts, quantization: dict[str, Any]) -> None:
    folder.mkdir()
    save(folder / "model.safetensors", tensors)
    key = "quantization_config" if "quant_method" in quantization else "quantization"
    (folder / "config.json").write_text(json.dumps({**config, key: quantization}))


def loaded(tiny: Path, folder: Path, kernels: str) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-c", _CHILD, str(tiny), str(folder)],
        capture_output=True, text=True, env={**os.environ, "LOCALQ_KERNELS": kernels},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("name", CASES)
def test_peak_of_loading(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    small = {"hidden_size": 128, "intermediate_size": 256, "moe_intermediate_size": 128, "num_experts": 2}
    write(tmp_path / "tiny", case, {**case.sizes, **small, "num_hidden_layers": 1})
    beside = write(tmp_path / "m", case, case.sizes)
    found = loaded(tmp_path / "tiny", tmp_path / "m", "native")  # as on a GPU
    assert found["packed"] > 8_000_000, found
    assert found["load"] <= found["packed"] + beside, (found, beside)


def gpt_oss(folder: Path, experts: int, layers: int) -> int:
    """A gpt-oss folder in its published layout; bytes that loading it may take beside its packed size."""
    kinds = ["sliding_attention", "full_attention"] * layers
    sizes: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 256, "num_local_experts": experts}
    model = build("gpt_oss", **sizes, num_hidden_layers=layers, layer_types=kinds[:layers])
    tensors: Parts = {}
    unit = 0
    for name, weight in model.weights.items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            tensors[name] = weight.astype(ml_dtypes.bfloat16)
            continue
        count, width, out = weight.shape  # published as [in, out], blocks as [out, in]
        tensors[f"{name}_blocks"] = octets(count, out, width // 32, 16)
        tensors[f"{name}_scales"] = np.full((count, out, width // 32), 120, np.uint8)
        unit = max(unit, tensors[f"{name}_blocks"].nbytes * 17 // 16)
    finish(folder, model.config, tensors, {"quant_method": "mxfp4"})
    return bound(unit, 256 * 512, len(tensors))


def test_peak_of_loading_gpt_oss(tmp_path: Path) -> None:
    gpt_oss(tmp_path / "tiny", 4, 2)
    beside = gpt_oss(tmp_path / "m", 32, 6)
    found = loaded(tmp_path / "tiny", tmp_path / "m", "")
    assert found["load"] <= found["packed"] + beside, (found, beside)
