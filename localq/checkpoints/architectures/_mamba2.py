"""State-space layers of the Mamba-2 kind: names, shapes and sizes (conversion/mamba.py of llama.cpp)."""

from __future__ import annotations

from typing import Any, NamedTuple

from localq.checkpoints.architectures import Name
from localq.checkpoints.architectures._hybrid import log_of_minus, three_axes
from localq.checkpoints.architectures._shapes import as_shape
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source


def mixer(prefix: str, norm: bool = True) -> dict[str, str | Name]:
    """Tensors of a layer whose Hugging Face names begin with `prefix`; `norm`: it must have one."""
    return {
        "blk.{i}.ssm_in.weight": prefix + "in_proj.weight",
        "blk.{i}.ssm_conv1d.weight": prefix + "conv1d.weight",
        "blk.{i}.ssm_conv1d.bias": Name(prefix + "conv1d.bias", optional=True),
        "blk.{i}.ssm_dt.bias": prefix + "dt_bias",
        "blk.{i}.ssm_a": Name(prefix + "A_log", log_of_minus),
        "blk.{i}.ssm_d": prefix + "D",
        "blk.{i}.ssm_norm.weight": Name(prefix + "norm.weight", optional=not norm),
        "blk.{i}.ssm_out.weight": prefix + "out_proj.weight",
    }


def flat(keys: ModelKeys, pieces: dict[str, Source]) -> None:
    """A `prepare`: decays, skips and norms with one axis, as Hugging Face has them; convolutions with three."""
    three_axes("ssm_conv1d")(keys, pieces)
    for i in range(keys.layers):
        for name in (f"blk.{i}.ssm_a", f"blk.{i}.ssm_d", f"blk.{i}.ssm_norm.weight"):
            if name in pieces:
                pieces[name] = as_shape(pieces[name], (-1,))


class Sizes(NamedTuple):
    """Heads and their width, groups that share B and C, width of the state, taps of the convolution."""

    heads: int
    width: int
    groups: int
    state: int
    taps: int


def sizes(keys: ModelKeys) -> Sizes:
    """`Sizes` of a file.

    Raises:
        CheckpointError: they contradict each other.
    """
    inner, heads = keys.integer("ssm.inner_size"), keys.integer("ssm.time_step_rank")
    groups = keys.integer("ssm.group_count")
    if heads < 1 or inner % heads or groups < 1 or heads % groups:
        raise CheckpointError(
            f"'{keys.architecture}' has {heads} state-space heads over ssm.inner_size {inner} in {groups} groups; "
            "expected the heads to divide the size, and the groups the heads."
        )
    return Sizes(heads, inner // heads, groups, keys.integer("ssm.state_size"), keys.integer("ssm.conv_kernel"))


def has_conv_bias(keys: ModelKeys, layers: list[int]) -> bool:
    """Whether the convolutions of these layers have biases: all or none."""
    found = {f"blk.{i}.ssm_conv1d.bias" in keys.tensors for i in layers}
    if len(found) > 1:
        raise CheckpointError("Some convolutions of the GGUF file have biases and some have not.")
    return found == {True}


def no_limit() -> list[Any]:
    """`time_step_limit`: llama.cpp has none, nor have the published models; mlx-lm's own default cuts at 0.001."""
    return [0.0, float("inf")]
