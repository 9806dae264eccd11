"""Mamba and Falcon Mamba: state-space layers alone, of the first kind."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture, Name
from localq.checkpoints.architectures._hybrid import log_of_minus, three_axes
from localq.checkpoints.architectures.mamba2 import OUTER, state_space
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def mixer(prefix: str) -> dict[str, str | Name]:
    """Tensors of a state-space layer whose Hugging Face names begin with `prefix`."""
    return {
        "blk.{i}.ssm_in.weight": prefix + "in_proj.weight",
        "blk.{i}.ssm_conv1d.weight": prefix + "conv1d.weight",
        "blk.{i}.ssm_conv1d.bias": prefix + "conv1d.bias",
        "blk.{i}.ssm_x.weight": prefix + "x_proj.weight",
        "blk.{i}.ssm_dt.weight": prefix + "dt_proj.weight",
        "blk.{i}.ssm_dt.bias": prefix + "dt_proj.bias",
        "blk.{i}.ssm_a": Name(prefix + "A_log", log_of_minus),
        "blk.{i}.ssm_d": prefix + "D",
        "blk.{i}.ssm_out.weight": prefix + "out_proj.weight",
    }


def _config(keys: ModelKeys) -> dict[str, Any]:
    config = state_space(keys)
    if config["intermediate_size"] != 2 * config["hidden_size"]:
        raise CheckpointError(
            f"'mamba.ssm.inner_size' is {config['intermediate_size']}; expected twice embedding_length, "
            f"{2 * config['hidden_size']}."
        )
    normed = keys.flag("ssm.dt_b_c_rms", False)
    # mixer_rms_eps has no key in GGUF; it is that of the published Falcon Mamba models
    return {**config, "model_type": "falcon_mamba" if normed else "mamba", "mixer_rms_eps": 1e-6}


ARCHITECTURE = Architecture(
    model_type="mamba",
    names={**OUTER, **mixer("backbone.layers.{i}.mixer.")},
    config=_config,
    prepare=three_axes("ssm_conv1d"),
)
