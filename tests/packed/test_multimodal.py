"""Packed multimodal folders answer as the packed text model inside them, towers left in floats and unread.

Rules of the config name modules as the writers do: with the prefix that the text has in the whole model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.models.loader import load_model
from tests.factories.tiny import build
from tests.models.folders import difference, packed_logits
from tests.packed.models import Packed, Packer, awq, gptq, rounded, stream, write_both
from tests.packed.rawfile import load, save

SKIPPED = re.compile(r"embed_tokens|lm_head|mlp\.gate$")
OWN = "layers.1.self_attn.v_proj"  # has settings of its own
MODELS = {"mistral3": "mistral", "gemma3": "gemma3", "qwen3_vl": "qwen3", "qwen3_vl_moe": "qwen3_moe"}
PREFIXES = {"transformers 4": ("language_model.model.", ""), "transformers 5": ("model.language_model.", "model.")}


def ct(group: int = 32) -> Packer:
    """compressed-tensors' pack-quantized, 4 bits, symmetric."""

    def pack(weight: np.ndarray) -> Packed:
        codes, scales, zeros, index = rounded(weight, 4, group, True)
        wide = scales.astype(np.float32)[:, index] * (codes - zeros[:, index])
        shape = np.array(weight.shape, np.int64)
        return {"weight_packed": stream(codes, 4), "weight_scale": scales, "weight_shape": shape}, wide

    return pack


def fp8(weight: np.ndarray) -> Packed:
    """DeepSeek's blocks of 128 x 128."""
    rows, columns = (-(-side // 128) for side in weight.shape)
    scales = np.ones((rows, columns), np.float32)
    for i in range(rows):
        for j in range(columns):
            scales[i, j] = np.abs(weight[128 * i : 128 * i + 128, 128 * j : 128 * j + 128]).max() / 448
    wide = np.kron(scales, np.ones((128, 128), np.float32))[: weight.shape[0], : weight.shape[1]]
    codes = (weight / wide).astype(ml_dtypes.float8_e4m3fn)
    return {"weight": codes, "weight_scale_inv": scales}, codes.astype(np.float32) * wide


def _gptq(text: str, rest: str) -> dict[str, Any]:
    dynamic = {f"-:{rest}vision_tower.*": {}, f"+:{re.escape(text)}{re.escape(OWN)}$": {"bits": 8, "group_size": 32}}
    return {"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": True, "desc_act": False, "dynamic": dynamic}


def _awq(text: str, rest: str) -> dict[str, Any]:
    skipped = [f"{rest}vision_tower", "lm_head", f"{text}{OWN}"]
    common = {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"}
    return {**common, "modules_to_not_convert": skipped}


def _ct(text: str, rest: str) -> dict[str, Any]:
    args = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group"}
    groups = {
        "group_0": {"targets": ["Linear"], "weights": {**args, "group_size": 32}},
        "group_1": {"targets": [f"re:{re.escape(text)}.*{re.escape(OWN)}$"], "weights": {**args, "group_size": 64}},
    }
    ignored = ["lm_head", "re:.*mlp.gate$", "re:.*vision_tower.*"]
    common = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}
    return {**common, "ignore": ignored}


def _fp8(text: str, rest: str) -> dict[str, Any]:
    skipped = [f"{rest}vision_tower", "lm_head", f"{text}{OWN}"]
    return {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": skipped}


# method -> settings for two prefixes, who packs most modules, who packs OWN (None: it stays in floats)
METHODS: dict[str, tuple[Callable[[str, str], dict[str, Any]], Packer, Packer | None]] = {
    "gptq": (_gptq, gptq(), gptq(8, 32)),
    "awq": (_awq, awq(), None),
    "compressed-tensors": (_ct, ct(32), ct(64)),
    "fp8": (_fp8, fp8, None),
}


def logits(folder: Path) -> tuple[Any, np.ndarray]:
    with open_checkpoint(folder) as checkpoint:
        model, _ = load_model(checkpoint, mx.float32)
    return model, packed_logits(model)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", MODELS)
def test_as_the_text_alone(kind: str, method: str, tmp_path: Path) -> None:
    settings, usual, own = METHODS[method]

    def pick(path: str, weight: np.ndarray) -> Packer | None:
        return None if SKIPPED.search(path) else own if path.endswith(OWN) else usual

    alone, _ = write_both(build(MODELS[kind]), tmp_path, pick, settings("model.", ""))
    model, right = logits(alone)
    assert len({row.format for row in model.report.rows}) > 1
    for spelling, (text, rest) in PREFIXES.items():
        whole = nested(alone, tmp_path / spelling, kind, text, settings(text, rest), rest)
        model, found = logits(whole)
        assert list(model.report.unused) == [f"{rest}vision_tower.blocks.0.attn.qkv.weight"]
        assert difference(found, right) == 0.0, spelling


def nested(alone: Path, folder: Path, kind: str, text: str, settings: dict[str, Any], rest: str) -> Path:
    """The packed text model of a folder inside a multimodal one."""
    head = "language_model.lm_head." if text.startswith("language_model.") else "lm_head."
    arrays = {
        name.replace("lm_head.", head) if name.startswith("lm_head.") else name.replace("model.", text, 1): array
        for name, array in load(alone / "model.safetensors").items()
    }
    arrays[f"{rest}vision_tower.blocks.0.attn.qkv.weight"] = np.full((8, 8), np.nan, np.float32)
    folder.mkdir()
    save(folder / "model.safetensors", arrays)
    config = json.loads((alone / "config.json").read_text())
    config.pop("quantization_config")
    whole = {"model_type": kind, "text_config": config, "vision_config": {}, "vocab_size": config["vocab_size"]}
    whole |= {"tie_word_embeddings": config["tie_word_embeddings"], "quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(whole))
    return folder
