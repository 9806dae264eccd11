"""awq_gemv_4bit_g<group>: AWQ's gemv layout; weight[n, k] = scale[n, g] * (code[n, k] - zero[n, g]), g = k // group.

`qweight` int32 `[out, in / 8]`, a row's nibbles in plain order, lowest first; `qzeros` int32 `[out, z]` likewise;
`scales` `[out, 8 z]`. z is ceil(groups / 8), rounded up to a multiple of 2 for groups of 64 and of 4 for groups of 32;
what is beyond the groups is padding. Source: autoawq awq/modules/linear/gemv.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Array
from localq.formats.awq_family import AWQFamily, Read, read_settings
from localq.formats.base import Format, Match, PackedTensor, Part
from localq.formats.bits import unpack

_NAME = re.compile(r"awq_gemv_4bit_(?:g(\d{1,6})|row)(_asym)?")


class AWQGemv(
    AWQFamily,
    name="awq_gemv",
    checked="autoawq",
    kernel="integers",
    suffixes=("qweight", "qzeros", "scales"),
    block_size=8,
):
    @classmethod
    def find(cls, name: str) -> type[Format] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(4, int(found[1] or 0), found[2] is None)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(4, 128, False), cls.of(4, 64, False)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) < 2 or shape[-1] % 8:
            raise CheckpointError(f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of 8.")
        width, group = shape[-1], cls.group(shape[-1])
        words = zero_words(width, group)
        return {
            "qweight": Part("int32", (*shape[:-1], width // 8)),
            "qzeros": Part("int32", (*shape[:-1], words)),
            "scales": Part("float16|bfloat16|float32", (*shape[:-1], words * 8)),
        }

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if not {"qweight", "qzeros", "scales"} <= set(stored) or stored["qweight"].dtype != "int32":
            return None
        words, scales = stored["qweight"].shape, stored["scales"].shape
        if len(words) < 2 or len(scales) != len(words) or words[-2] != scales[-2]:
            return None
        found = read_settings(quantization, "gemv", words[-1] * 8, cls.known_bits)
        if found is None:
            return None
        return cls.of(found.bits, found.group, found.symmetric), (*words[:-1], words[-1] * 8)

    @classmethod
    def scales(cls, t: PackedTensor) -> dict[str, Array]:
        return {"scales": t.parts["scales"][..., : -(-t.shape[-1] // cls.group(t.shape[-1]))]}

    @classmethod
    def check_scales(cls, t: PackedTensor) -> None:
        super().check_scales(t)
        check_padding(cls, {"scales": t.parts["scales"][..., -(-t.shape[-1] // cls.group(t.shape[-1])) :]})

    @classmethod
    def zeros(cls, t: PackedTensor) -> Array:
        fields = unpack(np.ascontiguousarray(t.parts["qzeros"]).view(np.uint32), 4)
        return fields[..., : -(-t.shape[-1] // cls.group(t.shape[-1]))]

    @classmethod
    def read(cls, t: PackedTensor) -> Read:
        zeros = np.ascontiguousarray(cls.zeros(t), np.float32)
        codes = unpack(np.ascontiguousarray(t.parts["qweight"]).view(np.uint32), 4)
        return codes, np.ascontiguousarray(t.parts["scales"][:, : zeros.shape[1]], np.float32), zeros

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        words = {
            n: rng.integers(-(1 << 31), 1 << 31, layout[n].shape, np.int64).astype(np.int32)
            for n in ("qweight", "qzeros")
        }
        spread = (rng.uniform(0.5, 1.5, layout["scales"].shape) / 16).astype(np.float16)
        spread[..., -(-shape[-1] // cls.group(shape[-1])) :] = 0
        return PackedTensor(cls, shape, {**words, "scales": spread})


def check_padding(form: type[Format], beyond: Mapping[str, Array]) -> None:
    """Hold what is stored beyond the last group to zeros: anything else belongs to groups the config does not have.

    Raises:
        CheckpointError: it is not.
    """
    for name, values in beyond.items():
        if values.any():
            raise CheckpointError(
                f"Part '{name}' of a {form.name} tensor goes on after its last group with {int((values != 0).sum())} "
                "numbers other than zero: its groups are smaller than the config's group_size."
            )


def zero_words(width: int, group: int) -> int:
    """Words of zero points in a row of `width` weights, padding included.

    Raises:
        CheckpointError: a group for which the layout has no rule.
    """
    multiple = 1 if group >= 128 else {64: 2, 32: 4}.get(group)
    if multiple is None:
        raise CheckpointError(f"AWQ's gemv layouts have groups of 32, 64 and 128 or more; the config says {group}.")
    words = (width // group + 7) // 8
    return (words + multiple - 1) // multiple * multiple
