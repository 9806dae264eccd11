"""paroquant_4bit_g<group>_r<steps>: ParoQuant, AWQ's 4-bit integers of weights whose inputs are scaled and rotated.

`qweight`, `qzeros` and `scales` are AWQ's gemm layout (formats/awq.py). Beside them, for K rotation steps:

    channel_scales   float16 `[1, in]` (or `[in]`)   what every input is multiplied by first
    theta            float16 `[K, in / 2]`           angles
    pairs            int16 `[K, in]`                 two by two the inputs, numbered in their group, an angle turns

A step turns disjoint pairs of a group all at once: x_i, x_j become x_i cos + x_j sin, x_j cos - x_i sin; then the next
step. A layer computes y = W rotated(x * channel_scales); decoded is that product's matrix by x. In MLX the steps of a
group are one matrix [group, group], which costs group float32 per input.
Sources: z-lab/paroquant paroquant/kernels/metal/rotation.metal, inference/backends/transformers/modules.py;
gptqmodel/utils/paroquant.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, Floats, NDArray
from localq.formats.awq import AWQ
from localq.formats.base import Format, Match, Native, PackedTensor, Part
from localq.formats.integers import group_length, one_of

_NAME = re.compile(r"paroquant_4bit_g(\d{1,3})_r(\d{1,2})(_flat)?")
_AWQ = ("qweight", "qzeros", "scales")
_ROTATION = ("theta", "pairs", "channel_scales")
_MOST = 128  # weights of a group, whose matrix is kept


class ParoQuant(
    Format,
    name="paroquant",
    checked="gptqmodel",
    family="paroquant",
    bits=4,
    group_size=128,
    block_size=128,
    bits_per_weight=4.15625,
    symmetric=False,
    scale="16-bit float and integer zero point per group, of rotated inputs",
    containers=("safetensors",),
    mains=("qweight",),
    suffixes=(*_AWQ, *_ROTATION),
    scale_parts=("scales", "channel_scales"),
    row_multiple=32,
):
    steps: ClassVar[int] = 8
    flat: ClassVar[bool] = False  # channel_scales [in]

    @classmethod
    def of(cls, group: int, steps: int, flat: bool = False) -> type[ParoQuant]:
        """The variant of this group and so many steps."""
        return ParoQuant.variant(
            f"paroquant_4bit_g{group}_r{steps}" + "_flat" * flat,
            group_size=group,
            block_size=group,
            steps=steps,
            flat=flat,
            bits_per_weight=4 + 20 / group + 24 * steps / 4096,
        )

    @classmethod
    def find(cls, name: str) -> type[ParoQuant] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(int(found[1]), int(found[2]), found[3] is not None)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return (cls.of(128, 8),)

    @classmethod
    def inner(cls) -> type[Format]:
        """The format of the rotated weights."""
        return AWQ.of(4, int(cls.group_size))

    @classmethod
    def inside(cls, t: PackedTensor) -> PackedTensor:
        """The weights as stored, of rotated inputs."""
        return PackedTensor(cls.inner(), t.shape, {name: t.parts[name] for name in _AWQ})

    @classmethod
    def wrap(cls, t: PackedTensor, like: PackedTensor) -> PackedTensor:
        """Weights of the format inside with the rotation of `like`."""
        return PackedTensor(cls, t.shape, {**t.parts, **{name: like.parts[name] for name in _ROTATION}})

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) != 2 or shape[1] % cls.block_size:
            raise CheckpointError(
                f"A {cls.name} tensor has rows of {shape[-1:]}; a matrix of rows of whole groups of {cls.block_size} "
                "was expected."
            )
        width = shape[1]
        return cls.inner().layout(shape) | {
            "theta": Part("float16|float32|bfloat16", (cls.steps, width // 2)),
            "pairs": Part("int16", (cls.steps, width)),
            "channel_scales": Part("float16|float32|bfloat16", (width,) if cls.flat else (1, width)),
        }

    @classmethod
    def check(cls, parts: Mapping[str, Array]) -> None:
        """Every step must turn each input of a group once, by an angle."""
        if not np.isfinite(parts["theta"]).all():
            raise CheckpointError("Some angles of theta are no finite numbers.")
        numbers = np.sort(parts["pairs"].reshape(cls.steps, -1, cls.block_size), axis=-1)
        wrong = np.argwhere((numbers != np.arange(cls.block_size)).any(axis=-1))
        if len(wrong):
            step, group = (int(i) for i in wrong[0])
            raise CheckpointError(
                f"Step {step} of pairs does not name every input of group {group} once; 0 to {cls.block_size - 1} "
                "were expected."
            )

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if not quantization or quantization.get("quant_method") != "paroquant" or not set(_AWQ) <= set(stored):
            return None
        main, scales, theta = stored["qweight"], stored["scales"], stored.get("theta")
        if theta is None or "pairs" not in stored or len(main.shape) != 2:
            raise UnsupportedError(
                f"ParoQuant's weight is stored as {', '.join(sorted(stored))}, without a rotation of its own (experts "
                "share one); localq knows layers with theta and pairs.",
                "Get the model in another packing (GGUF, MLX, AWQ, GPTQ), or quantise the original.",
            )
        one_of(quantization, "bits", (4,))
        shape, group = (scales.shape[-1], main.shape[0]), group_length(quantization, main.shape[0])
        steps = theta.shape[0] if theta.shape else 0
        if quantization.get("krot") not in (None, steps):
            raise CheckpointError(f"The config says krot {quantization['krot']!r}; theta has {steps} steps.")
        if not 0 < steps < 100 or group > _MOST or group % 2:
            raise UnsupportedError(f"{steps} steps in groups of {group}; localq knows even groups of up to {_MOST}.")
        return cls.of(
            group, steps, len(stored["channel_scales"].shape) == 1 if "channel_scales" in stored else False
        ), shape

    @classmethod
    def turns(cls, t: PackedTensor) -> Iterator[tuple[Array, Array, Array, Array]]:
        """Of every step: which two inputs each angle turns (numbers in the row), its cosine and its sine."""
        group, width = int(cls.block_size), t.shape[1]
        starts = np.repeat(np.arange(0, width, group), group // 2)
        for angles, pairs in zip(t.parts["theta"].astype(np.float64), t.parts["pairs"].astype(np.int64), strict=True):
            yield starts + pairs[0::2], starts + pairs[1::2], np.cos(angles), np.sin(angles)

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        """The transposed steps, the last one first, on every row; then the inputs' scales."""
        rows = cls.inside(t).dequantize().astype(np.float64)
        for i, j, cos, sin in reversed(list(cls.turns(t))):
            first, second = rows[:, i], rows[:, j]
            rows[:, i], rows[:, j] = first * cos - second * sin, second * cos + first * sin
        rows *= t.parts["channel_scales"].reshape(-1).astype(np.float64)
        return rows.astype(np.float32)

    @classmethod
    def rotation(cls, t: PackedTensor) -> Floats:
        """Scales and all steps as a matrix per group, float32 `[in / group, group, group]`: x' = x @ matrix."""
        group, width = int(cls.block_size), t.shape[1]
        images = np.tile(np.eye(group), width // group)  # row r: what input r of every group becomes
        images *= t.parts["channel_scales"].reshape(-1).astype(np.float64)
        for i, j, cos, sin in cls.turns(t):
            first, second = images[:, i], images[:, j]
            images[:, i], images[:, j] = first * cos + second * sin, second * cos - first * sin
        return np.ascontiguousarray(images.reshape(group, -1, group).swapaxes(0, 1), np.float32)

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return cls.inner().has_native(cls.inside(t))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """As AWQ's; the input is scaled and rotated by one small matrix per group first."""
        held = cls.inner().to_native(cls.inside(t))
        return None if held is None else replace(held, input_rotation=cls.rotation(t))

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        return cls.wrap(cls.inside(t).rows(index), t)

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """Of matrices that rotate alike."""
        first = tensors[0]
        if any(not np.array_equal(t.parts[name], first.parts[name]) for t in tensors for name in _ROTATION):
            return None
        joined = cls.inner().join_rows([cls.inside(t) for t in tensors])
        return None if joined is None else cls.wrap(joined, first)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        parts, group, width = dict(cls.inner().sample(shape, rng).parts), int(cls.block_size), shape[1]
        numbers = np.tile(np.arange(group, dtype=np.int16), (cls.steps, width // group, 1))
        parts["pairs"] = rng.permuted(numbers, axis=-1).reshape(cls.steps, width)
        parts["theta"] = rng.uniform(-3, 3, (cls.steps, width // 2)).astype(np.float16)
        scales = rng.uniform(0.5, 1.5, width).astype(np.float16)
        parts["channel_scales"] = scales if cls.flat else scales[None, :]
        return PackedTensor(cls, shape, parts)
