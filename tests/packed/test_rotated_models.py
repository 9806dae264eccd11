"""Rotated checkpoints with experts and with latent attention: logits of the weights that the rotation stands for.

That one layer's rotation is compressed-tensors' own, test_rotated.py shows; here it meets stacks of experts and the
matrices that latent attention takes apart.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from tests.packed.models import Packed, compare, write_both
from tests.packed.test_models_proof import models
from tests.packed.test_rotated import parts_of

SIDE = 16
IGNORED = ["lm_head", "re:.*mlp.gate$"]


def turned(weight: np.ndarray) -> np.ndarray:
    """Every 16 inputs by Sylvester's matrix, which undoes itself."""
    h = np.ones((1, 1))
    while len(h) < SIDE:
        h = np.block([[h, h], [h, -h]])
    return (weight.reshape(len(weight), -1, SIDE) @ (h / np.sqrt(SIDE))).reshape(weight.shape).astype(np.float32)


def pack(weight: np.ndarray) -> Packed:
    w = turned(weight)
    scales = (np.abs(w).max(axis=1, keepdims=True) / 127).astype(np.float32)
    codes = np.rint(w / scales).astype(np.int8)
    return {"weight": codes, "weight_scale": scales}, turned(codes.astype(np.float32) * scales)


def config() -> dict[str, Any]:
    """The peer's, with routers left alone."""
    found: dict[str, Any] = json.loads(json.dumps(parts_of("hadamard")[1]["quantization_config"]))
    found["ignore"] = IGNORED
    for apply in found["transform_config"]["config_groups"]["H"]["apply"]:
        apply["ignore"] = IGNORED
    return found


@pytest.mark.parametrize("arch", ["qwen3_moe", "deepseek_v3"])
def test_logits(tmp_path: Path, arch: str) -> None:
    model = models()[arch]
    plain = ("lm_head", "embed_tokens", "mlp.gate")
    folders = write_both(model, tmp_path, lambda path, w: None if path.endswith(plain) else pack, config())
    loaded, off = compare(*folders)
    assert off < 1e-4
    with open_checkpoint(folders[0]) as checkpoint:
        rotated = {n for n, spec in checkpoint.specs.items() if "rotated" in spec.format}
    assert any("experts" in name for name in rotated) and any("self_attn" in name for name in rotated)
    assert sum(row.matrices for row in loaded.report.rows if "rotated" in row.format) >= len(rotated)
