"""Loading each kind of packing peaks at its packed size and the working set of one tensor, or one stack of experts.

Random folders of 10 to 25 MB, loaded in a process of their own, in MLX's modes as on a GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
SLACK = 10_000_000  # of the allocators: arenas, MLX's cache of freed buffers
_CHILD = """
import json, sys
import mlx_lm.utils, mlx_lm.models.llama, mlx_lm.models.qwen3_moe, mlx_lm.models.gpt_oss, mlx_lm.models.mla
import mlx.core as mx, numpy as np
from localq.checkpoints import open_checkpoint
from localq.formats import FORMATS
from localq.models.loader import load_model

FORMATS
mx.eval(mx.ones((64, 64)) @ mx.ones((64, 64)))
np.ones((512, 512), np.float32) @ np.ones((512, 512), np.float32)

def memory(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))

with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
baseline = memory("VmRSS")
checkpoint = open_checkpoint(sys.argv[1])
model, _ = load_model(checkpoint)
rows = [(row.format, row.way) for row in model.report.rows]
print(json.dumps({"packed": checkpoint.nbytes, "load": memory("VmHWM") - baseline, "rows": rows}))
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


def fp8(out: int, width: int) -> Parts:
    codes = RNG.integers(0, 0x7E, (out, width), np.uint8).view(ml_dtypes.float8_e4m3fn)
    return {"weight": codes, "weight_scale_inv": np.full((-(-out // 128), -(-width // 128)), 1e-4, np.float32)}


CT = {
    "quant_method": "compressed-tensors",
    "format": "nvfp4-pack-quantized",
    "ignore": ["lm_head", "re:.*mlp.gate$"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16},
        }
    },
}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
WIDE = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 5, "head_dim": 128}
EXPERTS = {"hidden_size": 256, "moe_intermediate_size": 256, "num_experts": 256, "num_hidden_layers": 1}
Case = tuple[str, dict[str, Any], Callable[[int, int], Parts], dict[str, Any]]
CASES: dict[str, Case] = {
    "awq": ("llama", WIDE, awq, AWQ),
    "ct nvfp4": ("llama", WIDE, nvfp4, CT),
    "fp8 blocks": ("llama", {**WIDE, "num_hidden_layers": 4}, fp8, FP8),
    "256 experts in gptq": ("qwen3_moe", EXPERTS, gptq, GPTQ),
}


def write(folder: Path, case: Case) -> int:
    """The packed folder; bytes a load may take beside it: 8 a weight of one matrix, or three times a stack."""
    arch, changes, pack, quantization = case
    model = build(arch, **changes)
    tensors: Parts = {}
    largest: dict[str, int] = {}
    working = 0
    for name, weight in model.weights.items():
        path = name.removesuffix(".weight")
        if weight.ndim != 2 or path.endswith(("embed_tokens", "lm_head", "mlp.gate")):
            tensors[name] = weight
            continue
        parts = pack(*weight.shape)
        tensors |= {f"{path}.{part}": array for part, array in parts.items()}
        working = max(working, 8 * weight.size)
        stem, _, last = path.rpartition(".experts.")
        stack = f"{stem}.{last.partition('.')[2]}" if stem else ""
        largest[stack] = largest.get(stack, 0) + sum(array.nbytes for array in parts.values()) * bool(stem)
    finish(folder, model.config, tensors, quantization)
    return max(working, 3 * max(largest.values()))


def finish(folder: Path, config: dict[str, Any], tensors: Parts, quantization: dict[str, Any]) -> None:
    folder.mkdir()
    save(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quantization}))


def loaded(folder: Path, kernels: str) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder)],
        capture_output=True, text=True, env={**os.environ, "LOCALQ_KERNELS": kernels},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("case", CASES)
def test_peak_of_loading(tmp_path: Path, case: str) -> None:
    working = write(tmp_path / "m", CASES[case])
    found = loaded(tmp_path / "m", "native")  # as on a GPU
    assert found["packed"] > 8_000_000, found
    assert found["load"] <= found["packed"] + working + SLACK, (found, working)


def test_peak_of_loading_gpt_oss(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "hidden_size": 256,
        "intermediate_size": 256,
        "num_local_experts": 32,
        "num_hidden_layers": 6,
    }
    changes |= {"layer_types": ["sliding_attention", "full_attention"] * 3}
    model = build("gpt_oss", **changes)
    tensors: Parts = {}
    largest = 0
    for name, weight in model.weights.items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            tensors[name] = weight.astype(ml_dtypes.bfloat16)
            continue
        experts, width, out = weight.shape  # published as [in, out], blocks as [out, in]
        tensors[f"{name}_blocks"] = octets(experts, out, width // 32, 16)
        tensors[f"{name}_scales"] = np.full((experts, out, width // 32), 120, np.uint8)
        largest = max(largest, tensors[f"{name}_blocks"].nbytes)
    finish(tmp_path / "m", model.config, tensors, {"quant_method": "mxfp4"})
    found = loaded(tmp_path / "m", "")
    assert found["load"] <= found["packed"] + 4 * largest + SLACK, (found, largest)
