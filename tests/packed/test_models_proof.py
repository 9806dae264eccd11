"""Experts, latent attention and gpt-oss in the main packings, in both spellings of transformers' configs.

Logits of the packed folder against mlx-lm's of the dequantised one. Packers are those of the neighbouring files:
written from the layouts, which are proved there on files of the packages themselves.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.factories import mla, more
from tests.factories.files import save_weights
from tests.factories.layout import split_gpt_oss_experts
from tests.factories.tiny import TinyModel, build
from tests.packed.models import Packer, awq, compare, gptq, write_both
from tests.packed.test_models_codes import BNB4, nf4
from tests.packed.test_models_floats import BLOCKS, CT, INT4, block, ct_int4, group, nvfp4

BOUND = 1e-4
EXPERTS = "mlp.experts."
SKIPPED = re.compile(r"embed_tokens|lm_head|mlp\.gate$|mlp\.router$")
LEAVES = {"modules_to_not_convert": ["lm_head", "mlp.gate", "router"]}
TENSOR_GROUP = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
FORMATS: dict[str, tuple[Packer, dict[str, Any], str]] = {
    "gptq": (gptq(scattered=True), {"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": True}, "gptq_4bit"),
    "awq": (
        awq(64),
        {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"},
        "awq",
    ),
    "ct int4": (ct_int4, {**CT, "config_groups": {"group_0": INT4}}, "ct_int4"),
    "ct nvfp4": (
        nvfp4(divides=True),
        {**CT, "config_groups": {"group_0": group(["Linear"], "nvfp4-pack-quantized", **TENSOR_GROUP)}},
        "nvfp4_packed",
    ),
    "fp8 block": (block(), {**BLOCKS, **LEAVES}, "fp8_e4m3"),
    "nf4": (nf4, BNB4, "bnb_nf4"),
}


def models() -> dict[str, TinyModel]:
    return {
        "qwen3_moe": build("qwen3_moe"),
        "deepseek_v3": more.make("deepseek_v3", mla.CASES["deepseek_v3"]),
        "gpt_oss": build("gpt_oss"),
    }


def respelt(folder: Path) -> None:
    """The config as transformers 5 writes it."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["dtype"] = config.pop("torch_dtype", "float32")
    rope = config.pop("rope_scaling", None) or {"rope_type": "default"}
    config["rope_parameters"] = {**rope, "rope_theta": config.pop("rope_theta")}
    if "num_experts" in config:
        config["num_local_experts"] = config.pop("num_experts")
    path.write_text(json.dumps(config))


def split_experts(folder: Path) -> None:
    """gpt-oss's experts, float here, under the names mlx-lm itself takes them by."""
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if EXPERTS in name]:
        stem, _, rest = name.partition(EXPERTS)
        for own, part in split_gpt_oss_experts(EXPERTS + rest, tensors.pop(name)):
            which, kind = own.removeprefix("ffn_").replace("_exps", "").split(".")
            tensors[f"{stem}{EXPERTS}{which}_proj.{kind}"] = np.ascontiguousarray(part)
    save_weights(folder, tensors)


@pytest.mark.parametrize("spelling", [4, 5])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("arch", ["qwen3_moe", "deepseek_v3", "gpt_oss"])
def test_logits(tmp_path: Path, arch: str, form: str, spelling: int) -> None:
    packer, config, name = FORMATS[form]

    def pick(path: str, weight: np.ndarray) -> Packer | None:
        divides = weight.shape[1] % 64 == 0 and weight.shape[0] % 32 == 0
        return packer if divides and not SKIPPED.search(path) else None

    packed, dense = write_both(models()[arch], tmp_path, pick, config)
    if spelling == 5:
        respelt(packed)
    if arch == "gpt_oss":
        split_experts(dense)
    model, distance = compare(packed, dense)
    assert distance < BOUND
    matrices = sum(row.matrices for row in model.report.rows if name in row.format)
    assert matrices >= {"qwen3_moe": 32, "deepseek_v3": 8, "gpt_oss": 8}[arch]
