"""What AWQ's layouts share: names, facts, settings, the way into MLX's affine. No format of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Native, PackedTensor
from localq.formats.bits import pack
from localq.formats.integers import (
    affine,
    affine_bits,
    affine_group,
    check_middle,
    dequantized,
    group_length,
    native_bits,
    one_of,
)

Read: TypeAlias = "tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]"


class Settings(NamedTuple):
    """What the config says of one module."""

    bits: int
    group: int  # 0: the whole row
    symmetric: bool


class AWQFamily(Format):
    """A layout of AWQ's; subclasses say where codes, scales and zeros lie (`layout`, `read`)."""

    known_bits: ClassVar[tuple[int, ...]] = (4,)
    zero_bits: ClassVar[int] = 0  # of a stored zero point, 0: as many as of a code
    stem: ClassVar[str] = ""  # the layout's name, with which those of its variants begin

    def __init_subclass__(cls, *, name: str = "", **facts: Any) -> None:
        always: dict[str, Any] = {}
        if name:
            always = {"family": "awq", "bits": 4, "group_size": 128, "bits_per_weight": 4.15625, "symmetric": False}
            always |= {"scale": "16-bit float and integer zero point per group", "containers": ("safetensors",)}
            always |= {"stem": name, "mains": ("qweight",), "scale_parts": ("scales",)}
        super().__init_subclass__(name=name, **{**always, **facts})

    @classmethod
    def of(cls, bits: int, group: int, symmetric: bool = False) -> type[Format]:
        """The variant of this width and group (0: the whole row)."""
        stored = bits + (16 + (cls.zero_bits or bits)) / (group or 4096)
        return cls.variant(
            f"{cls.stem}_{bits}bit_{f'g{group}' if group else 'row'}{'' if symmetric else '_asym'}",
            bits=bits,
            group_size=group,
            symmetric=symmetric,
            bits_per_weight=stored,
            same_size=native_bits(bits, group or 4096, not symmetric) <= 1.1 * stored,
        )

    @classmethod
    def group(cls, width: int) -> int:
        """Weights that share a scale in rows of `width`."""
        return min(cls.group_size or width, width)

    @classmethod
    def read(cls, t: PackedTensor) -> Read:
        """Codes `[out, in]`, scales and zero points `[out, groups]` of a matrix."""
        raise TypeError(f"{cls.__name__} defines no read")

    @classmethod
    def zeros(cls, t: PackedTensor) -> Array:
        """The zero points that are stored, of outputs and groups that there are, in any order."""
        raise TypeError(f"{cls.__name__} defines no zeros")

    @classmethod
    def check_scales(cls, t: PackedTensor) -> None:
        super().check_scales(t)
        if cls.symmetric:
            check_middle(cls, cls.zeros(t))

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        if len(t.shape) > 2:
            return np.stack([t.matrix(i).dequantize() for i in range(t.shape[0])])
        return dequantized(*cls.read(t), None, cls.group(t.shape[-1]))

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return bool(affine_bits(int(cls.bits)) and affine_group(cls.group(t.shape[-1]), t.shape[-1]))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine. No stacks."""
        if len(t.shape) != 2 or not cls.has_native(t):
            return None
        codes, scales, zeros = cls.read(t)
        bits = affine_bits(int(cls.bits))
        return affine(pack(codes, bits), bits, cls.group(t.shape[-1]), scales, zeros)


def read_settings(
    quantization: Mapping[str, Any] | None, layout: str, width: int, known_bits: tuple[int, ...]
) -> Settings | None:
    """The config's settings for arrays that lie as `layout` has them, rows being `width` wide; None: not AWQ.

    Raises:
        CheckpointError: the config names another layout, or no numbers.
        UnsupportedError: a bit width the layout has not.
    """
    if not quantization or quantization.get("quant_method") != "awq":
        return None
    if quantization.get("version") != layout:
        raise CheckpointError(
            f"The config says AWQ version {quantization.get('named', quantization.get('version'))!r}; the arrays lie "
            f"as {layout} has them."
        )
    bits = one_of(quantization, "bits", known_bits)
    group = group_length(quantization, width)
    symmetric = quantization.get("sym") is True or quantization.get("zero_point") is False
    return Settings(bits, 0 if group == width else group, symmetric)
