"""compressed-tensors' layouts against its own packers and decoders (tools/fixtures/compressed_tensors_layers.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.checkpoints.methods.compressed_tensors import rules
from localq.errors import CheckpointError, UnsupportedError
from localq.formats import find
from tests.packed.fixtures import NAME, Variant, assert_same, read, variants, write
from tests.packed.native import assert_rows, decoded_by_mlx

PROVES = {"ct_int", "ct_bytes", "fp8", "nvfp4_packed", "mxfp4_packed", "mxfp8_bytes"}
VARIANTS = variants("compressed_tensors.safetensors") | variants("ct_bytes.safetensors")


def parts_of(name: str, **change: Any) -> dict[str, np.ndarray]:
    """The arrays of a variant; codes of 8-bit floats in blocks are drawn by the generator's rule."""
    variant = VARIANTS[name]
    parts = dict(variant.parts)
    if name.startswith("fp8_block"):
        places = np.arange(np.prod(variant.shape), dtype=np.int64)
        codes = ((places * 40503 >> 4) % 127 + 128 * (places % 2)).astype(np.uint8)
        parts["weight"] = codes.reshape(variant.shape).view(ml_dtypes.float8_e4m3fn)
    return {n: a for n, a in {**parts, **change}.items() if a is not None}


def config_of(name: str, **weights: Any) -> dict[str, Any]:
    config = VARIANTS[name].config
    group = config["config_groups"]["group_0"]
    return {**config, "config_groups": {"group_0": {**group, "weights": {**group["weights"], **weights}}}}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_the_peers(tmp_path: Path, name: str) -> None:
    variant: Variant = VARIANTS[name]
    t = read(tmp_path, parts_of(name), variant.config)
    assert_same(t, variant)
    assert find(t.format.name) is t.format
    assert_rows(t)


@pytest.mark.parametrize("name", VARIANTS)
def test_mlx_decodes_the_same_weights(tmp_path: Path, name: str) -> None:
    t = read(tmp_path, parts_of(name), VARIANTS[name].config)
    held, found = t.format.to_native(t), decoded_by_mlx(t)
    if name.startswith("fp8_block"):
        assert held is None  # scales that vary along the inputs: no mode of MLX's
        return
    assert held is not None and found is not None
    if held.exactness == "exact":
        np.testing.assert_array_equal(found, t.dequantize())
    else:  # a scale of the whole tensor multiplied in another order; code * scale - 128 * scale rounded in between
        assert held.error < 2e-5
        assert np.abs(found - t.dequantize()).max() < 4e-6 * np.abs(t.dequantize()).max()


def test_old_and_new_packings_are_told_apart(tmp_path: Path) -> None:
    """3, 5, 6 and 7 bits: padded words until 0.17, one bitstream since 0.18."""
    names = [n for n in VARIANTS if n.startswith(("int3", "int5", "int6", "int7"))]
    kinds = {}
    for number, name in enumerate(names):
        (tmp_path / str(number)).mkdir()
        form = read(tmp_path / str(number), parts_of(name), VARIANTS[name].config).format.name
        kinds[name.rpartition("_")[2], "padded" in form] = form
    assert {kind for kind in kinds} == {("v12", True), ("v20", False)}


def group(targets: list[str], **weights: Any) -> dict[str, Any]:
    return {"targets": targets, "weights": {"num_bits": 8, "type": "float", "strategy": "channel", **weights}}


def test_groups_targets_and_exceptions() -> None:
    """Names before patterns before classes; what is ignored belongs to nobody."""
    config = {
        "quant_method": "compressed-tensors",
        "format": "mixed-precision",
        "version": "0.14",
        "config_groups": {
            "all": {**group(["Linear"]), "format": "float-quantized"},
            "mlp": {**group(["re:.*mlp.*"], num_bits=4), "format": "nvfp4-pack-quantized"},
            "one": {**group(["model.layers.1.mlp.up_proj"], num_bits=3), "format": "pack-quantized"},
        },
        "ignore": ["lm_head", "re:.*vision_tower.*", "model.layers.2.mlp.up_proj"],
    }
    answer = rules(config)

    def bits(path: str) -> int | None:
        found = answer(path)
        return None if found is None else found["num_bits"]

    assert bits("model.layers.0.self_attn.q_proj") == 8
    assert bits("model.layers.0.mlp.up_proj") == 4
    assert bits("model.layers.1.mlp.up_proj") == 3
    assert bits("model.layers.2.mlp.up_proj") is None
    assert bits("lm_head") is None and bits("vision_tower.blocks.0.fc1") is None
    assert bits("model.embed_tokens") is None
    found = answer("model.layers.0.mlp.up_proj")
    assert found is not None and found["format"] == "nvfp4-pack-quantized"


@pytest.mark.parametrize("block", [[128, 128], "128x128"])
def test_block_structure_old_and_new(block: Any) -> None:
    weights = {"strategy": "block", "block_structure": block}
    found = rules({"config_groups": {"a": group(["Linear"], **weights)}})("model.layers.0.mlp.up_proj")
    assert found is not None and found["weight_block_size"] == [128, 128]


def test_other_sparse_files_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="marlin-24"):
        rules({"sparsity_config": {"format": "marlin-24"}})


def test_scales_of_activations_and_caches_are_seen_and_not_used(tmp_path: Path) -> None:
    parts = parts_of("fp8_tensor", input_scale=np.ones(1, np.float32))
    folder = write(tmp_path, parts, VARIANTS["fp8_tensor"].config)
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.unsupported is None
        assert list(checkpoint) == [f"{NAME}.weight"]


_INT4, _ASYM = "int4_group32_asym_v20", "int4_group32_asym_v20"
DAMAGE: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "no scales": ("int4_group128_v20", {"weight_scale": None}, {}, "weight_scale|recognises"),
    "no zero points": (_ASYM, {"weight_zero_point": None}, {}, "symmetric.*weight_zero_point"),
    "zero points of a symmetric one": (_ASYM, {}, {"symmetric": True}, "symmetric.*weight_zero_point"),
    "another group": (_INT4, {}, {"group_size": 64}, r"4 in 256 inputs; weight_scale has 8"),
    "another width": (_INT4, {}, {"num_bits": 8}, "words"),
    "shape": (_INT4, {"weight_shape": np.array([16, 999])}, {}, r"weight_shape is \[16, 999\]"),
    "NaN": ("fp8_channel", {"weight_scale": np.full((16, 1), np.nan, np.float32)}, {}, "nan; expected finite"),
    "scale 0": ("int8_channel", {"weight_scale": np.zeros((16, 1), np.float32)}, {}, "0.0; expected finite scales"),
    "scale 0 of all": ("nvfp4", {"weight_global_scale": np.zeros(1, np.float32)}, {}, "weight_global_scale.*0.0"),
    "grid": (
        "fp8_block_320",
        {"weight_scale": np.ones((2, 2), np.float32)},
        {},
        r"\(320, 192\) has weight_scale.*\(2, 2\)",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_contradicts_itself_is_refused(tmp_path: Path, name: str) -> None:
    variant, parts, weights, words = DAMAGE[name]
    folder = write(tmp_path, parts_of(variant, **parts), config_of(variant, **weights))
    with pytest.raises((CheckpointError, UnsupportedError), match=words) as caught:
        with open_checkpoint(folder) as checkpoint:
            if checkpoint.unsupported:
                raise UnsupportedError(checkpoint.unsupported)
            checkpoint[f"{NAME}.weight"]
    assert name != "no zero points" or caught.type is CheckpointError
