"""metal_<bits>bit_g<group>: transformers' "metal" method; MLX's affine whose biases are called `qbiases`.

weight = scales * code + qbiases, codes in the same bitstream of uint32. Source: transformers/integrations/
metal_quantization.py (`MetalLinear`), 5.23; the arithmetic is that of formats/affine.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part
from localq.formats.integers import one_of

_BITS, _GROUPS = (2, 4, 8), (32, 64, 128)
_NAME = re.compile(r"metal_([248])bit_g(32|64|128)")


class MetalAffine(
    Format,
    name="metal",
    checked="transformers",
    family="metal",
    bits=4,
    group_size=64,
    block_size=32,
    bits_per_weight=4.5,
    symmetric=False,
    scale="16-bit float scale and bias per group",
    containers=("safetensors",),
    suffixes=("weight", "scales", "qbiases"),
    scale_parts=("scales", "qbiases"),
    zero_scales=True,
    same_size=True,
):
    @classmethod
    def of(cls, bits: int, group: int) -> type[MetalAffine]:
        """The variant of this width and group."""
        facts = {"bits": bits, "group_size": group, "block_size": group, "bits_per_weight": bits + 32 / group}
        return MetalAffine.variant(f"metal_{bits}bit_g{group}", **facts)

    @classmethod
    def find(cls, name: str) -> type[MetalAffine] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(int(found[1]), int(found[2]))

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(4, 64), cls.of(8, 128), cls.of(2, 32)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if not shape or shape[-1] % cls.group_size:
            raise CheckpointError(
                f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of {cls.group_size}."
            )
        scales = Part("float16|bfloat16|float32", (*shape[:-1], shape[-1] // cls.group_size))
        words = Part("uint32", (*shape[:-1], shape[-1] * int(cls.bits) // 32))
        return {"weight": words, "scales": scales, "qbiases": scales}

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """Config `bits` and `group_size`."""
        if "qbiases" not in stored or "weight" not in stored:
            return None
        if not quantization or quantization.get("quant_method") != "metal":
            raise CheckpointError("qbiases are the metal method's, which the config does not name.")
        bits, group = one_of(quantization, "bits", _BITS), one_of(quantization, "group_size", _GROUPS)
        *lead, words = stored["weight"].shape or (0,)
        if 0 in (*lead, words) or not lead:
            raise CheckpointError(f"weight is {stored['weight'].shape}; expected uint32 [out, in * bits / 32].")
        return cls.of(bits, group), (*lead, words * 32 // bits)

    @classmethod
    def affine(cls, t: PackedTensor) -> PackedTensor:
        """The same arrays as MLX's own format."""
        from localq.formats import FORMATS

        parts = {"weight": t.parts["weight"], "scales": t.parts["scales"], "biases": t.parts["qbiases"]}
        return PackedTensor(FORMATS[f"affine_{int(cls.bits)}bit_g{cls.group_size}"], t.shape, parts)

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        return cls.affine(t).dequantize()

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Itself."""
        held = cls.affine(t)
        return held.format.to_native(held)

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        return cls.affine(t).rows(index)

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        each = [cls.affine(t) for t in tensors]
        return each[0].format.join_rows(each)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        words = rng.integers(0, 1 << 32, layout["weight"].shape, np.uint64).astype(np.uint32)
        scales = (rng.uniform(0.5, 1.5, layout["scales"].shape) / (1 << int(cls.bits))).astype(np.float16)
        return PackedTensor(cls, shape, {"weight": words, "scales": scales, "qbiases": -scales * np.float16(2)})
