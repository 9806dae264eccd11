"""Tiny models packed as safetensors publish them, on own kernels in the executor: the dequantised model's logits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from localq.kernels import own, registry
from tests.factories.tiny import build
from tests.metal.harness import Harness
from tests.packed.models import Packer, compare, gptq, write_both
from tests.packed.test_models_codes import BNB4, SKIPPED, nf4, random_trellis
from tests.packed.test_models_floats import BLOCKS, block
from tests.packed.test_models_int import GPTQ

BOUND = 1e-4
FEED_FORWARD = re.compile(r"(gate|up|down)_proj$")


def every(packer: Packer) -> Callable[[str, np.ndarray], Packer | None]:
    return lambda path, weight: None if SKIPPED.search(path) else packer


CASES: dict[str, Any] = {
    "fp8 blocks": ("qwen3", every(block()), {**BLOCKS, "modules_to_not_convert": ["lm_head"]}, "own packed fp8"),
    "nf4 experts": ("qwen3_moe", every(nf4), BNB4, "own packed bnb_4bit"),
    "act-order experts": ("qwen3_moe", every(gptq(scattered=True)), GPTQ, "own packed integers"),
    "trellises": (
        "llama",
        lambda path, weight: random_trellis if FEED_FORWARD.search(path) else None,
        {"quant_method": "exl3"},
        "own packed exl3 of rotated inputs",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_logits_of_own_kernels(harness: Harness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str) -> None:
    arch, pick, config, way = CASES[case]
    folders = write_both(build(arch), tmp_path, pick, config)
    made = harness.factory()
    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(registry, "activation_dtype", lambda stored: mx.float32)
    monkeypatch.setattr(registry, "_VERDICTS", {})
    monkeypatch.setattr(own, "factory", lambda: made)
    model, distance = compare(*folders)
    assert distance < BOUND
    ways = {row.way for row in model.report.rows if row.format not in ("f32", "bf16", "f16")}
    assert way in ways and "reference" not in ways
