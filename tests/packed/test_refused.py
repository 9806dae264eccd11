"""Packings refused by name, whose order only their own kernel undoes; and arrays that lie beside and are not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.models.loader import load_model
from tests.packed.fixtures import NAME, variants, write

INT, HALF = np.zeros((8, 32), np.int32), np.ones((1, 32), np.float16)
REFUSED: dict[str, tuple[dict[str, Any] | None, dict[str, np.ndarray], str]] = {
    "exl2 by its arrays": (
        None,
        {"q_weight": INT, "q_scale": INT, "q_scale_max": HALF, "q_groups": np.zeros(2, np.int16), "q_invperm": INT[0]},
        "EXL2",
    ),
    "exl2 by name": ({"quant_method": "exl2"}, {"q_weight": INT}, "exl2"),
    "marlin": ({"quant_method": "gptq", "checkpoint_format": "marlin"}, {"qweight": INT, "scales": HALF}, "marlin"),
    "awq marlin": ({"quant_method": "awq", "version": "marlin"}, {"qweight": INT, "scales": HALF}, "marlin"),
    "bitblas": ({"quant_method": "gptq", "checkpoint_format": "bitblas"}, {"qweight": INT, "scales": HALF}, "bitblas"),
    "qqq": ({"quant_method": "qqq", "bits": 4}, {"B": INT, "s_channel": HALF, "s_group": HALF}, "QQQ"),
    "gptqmodel's qqq": ({"quant_method": "gptq", "checkpoint_format": "qqq"}, {"B": INT, "s_channel": HALF}, "qqq"),
    "ggml's blocks": ({"quant_method": "gguf", "bits": "q4_k_m"}, {"qweight": INT.astype(np.uint8)}, "GGUF"),
    "sinq": ({"quant_method": "sinq"}, {"W_q": INT.astype(np.uint8)}, "SINQ"),
    "eetq": ({"quant_method": "eetq"}, {"weight": INT.astype(np.int8), "weight_scales": HALF[0]}, "EETQ.*own kernel"),
    "2:4 sparse": (
        {"quant_method": "compressed-tensors", "format": "marlin-24"},
        {"weight_packed": INT, "scale_packed": HALF, "meta": INT},
        "marlin-24",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_with_what_to_do(tmp_path: Path, case: str) -> None:
    config, parts, said = REFUSED[case]
    checkpoint = open_checkpoint(write(tmp_path, parts, config))
    with pytest.raises(UnsupportedError, match=said) as error:
        load_model(checkpoint)
    assert "another packing" in str(error.value)


SCALES = ("input_scale", "k_scale", "v_scale", "output_scale")


def test_scales_of_activations_are_told_and_not_read(tmp_path: Path) -> None:
    variant = variants("gptq.safetensors")["v1_4_sym"]
    one = np.ones(1, np.float32)
    with open_checkpoint(
        write(tmp_path, {**variant.parts, **dict.fromkeys(SCALES, one)}, variant.config)
    ) as checkpoint:
        assert checkpoint.unsupported is None and list(checkpoint.specs) == [f"{NAME}.weight"]
        assert set(checkpoint.unused) == {f"{NAME}.{scale}" for scale in SCALES}
        assert set(checkpoint[f"{NAME}.weight"].parts) == set(variant.parts)
        assert checkpoint.raw(f"{NAME}.k_scale")[1] == "F32"


def test_lone_scales_of_the_cache_beside_plain_weights(tmp_path: Path) -> None:
    parts = {"q_proj.weight": np.ones((4, 4), np.float32), "k_scale": np.ones(1, np.float32)}
    with open_checkpoint(write(tmp_path, parts, None, "model.layers.0.self_attn")) as checkpoint:
        assert checkpoint.formats == {"f32": 1}
        assert list(checkpoint.unused) == ["model.layers.0.self_attn.k_scale"]


def test_an_array_nobody_knows_beside_a_matrix_is_named(tmp_path: Path) -> None:
    variant = variants("gptq.safetensors")["v1_4_sym"]
    write(tmp_path, {**variant.parts, "zero": np.ones(1, np.float32)}, variant.config)
    with pytest.raises(CheckpointError, match="has no part 'zero'; expected g_idx, qweight, qzeros, scales"):
        open_checkpoint(tmp_path)


def test_a_config_that_names_a_method_no_tensor_follows(tmp_path: Path) -> None:
    parts = {"weight": np.ones((4, 4), np.float32)}
    checkpoint = open_checkpoint(write(tmp_path, parts, {"quant_method": "gptq", "bits": 4, "group_size": 32}))
    assert checkpoint.unsupported is not None and "'gptq'" in checkpoint.unsupported
