"""A config that names another scheme than the arrays are is refused, and says both."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError
from tests.packed.fixtures import NAME, variants, write

ALGOS = ("NVFP4", "FP8", "MXFP8", "W4A16_AWQ", "MXFP4")
OWN = {"fp8": "FP8", "int4": "W4A16_AWQ", "mxfp4": "MXFP4", "mxfp8": "MXFP8", "nvfp4": "NVFP4"}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("algo", ALGOS)
def test_modelopt(tmp_path: Path, name: str, algo: str) -> None:
    variant = variants("modelopt.safetensors")[name]
    config = {"quant_method": "modelopt", "quant_algo": algo, "group_size": {"W4A16_AWQ": 128, "NVFP4": 16}.get(algo)}
    write(tmp_path, variant.parts, config)
    if algo == OWN[name]:
        with open_checkpoint(tmp_path) as checkpoint:
            assert checkpoint.unsupported is None
        return
    with pytest.raises(CheckpointError, match=f"{NAME}.*The arrays are .*quant_algo '{algo}'"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("fp8_channel", {"num_bits": 4}),
        ("fp8_tensor", {"type": "int"}),
        ("fp8_tensor", {"strategy": "channel"}),
        ("fp8_channel", {"strategy": "tensor"}),
        ("fp8_channel", {"symmetric": False}),
        ("int8_channel", {"type": "float"}),
        ("mxfp4", {"num_bits": 8}),
        ("nvfp4", {"type": "int"}),
        ("int4_group128_v20", {"num_bits": 8}),
        ("int4_group128_v20", {"group_size": 32}),
        ("int4_group128_v20", {"symmetric": False}),
    ],
)
def test_compressed_tensors(tmp_path: Path, name: str, change: dict[str, object]) -> None:
    variant = variants("compressed_tensors.safetensors")[name]
    config = copy.deepcopy(variant.config)
    for group in config["config_groups"].values():
        group["weights"] |= change
    write(tmp_path, variant.parts, config)
    with pytest.raises(CheckpointError, match=NAME):
        open_checkpoint(tmp_path)
