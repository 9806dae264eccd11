"""What MLX's own modes share: how a config and the stored shapes name one of them. No format of its own.

MLX stores a quantised matrix as `weight`, uint32 words of a little-endian bitstream of codes, beside `scales` and,
for affine, `biases`; the config's `quantization` says mode, bits and group size, per module where modules differ.
Source: mlx/python/mlx/nn/layers/quantized.py and mlx_lm/utils.py (mlx 0.32, mlx-lm 0.32).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.base import Format, Match, Native, PackedTensor, Part

AFFINE_BITS = (1, 2, 3, 4, 5, 6, 8)
AFFINE_GROUPS = (32, 64, 128)


class Settings(NamedTuple):
    """One way MLX may pack a matrix."""

    mode: str
    bits: int
    group_size: int


DEFAULTS = {  # what MLX takes where a config names the mode alone
    "affine": Settings("affine", 4, 64),
    "mxfp4": Settings("mxfp4", 4, 32),
    "mxfp8": Settings("mxfp8", 8, 32),
    "nvfp4": Settings("nvfp4", 4, 16),
}


def read_settings(quantization: Mapping[str, Any]) -> Settings | None:
    """MLX settings of a module's config entry, or None where the entry is another method's.

    Raises:
        UnsupportedError: a mode, a bit width or a group size MLX does not have.
    """
    method = quantization.get("quant_method")
    if method not in (None, "mxfp4", "mxfp8"):
        return None
    if method is None and not {"mode", "bits", "group_size"} & set(quantization):
        return None
    mode = quantization.get("mode") or method or "affine"
    if not isinstance(mode, str) or mode not in DEFAULTS:
        raise UnsupportedError(f"The config names the MLX mode {mode!r}; localq knows {', '.join(DEFAULTS)}.")
    default = DEFAULTS[mode]
    found = Settings(mode, quantization.get("bits", default.bits), quantization.get("group_size", default.group_size))
    if not type(found.bits) is type(found.group_size) is int:  # bool is an int to isinstance
        raise UnsupportedError(
            f"The config asks {mode} for {found.bits!r} bits in groups of {found.group_size!r}; expected two integers."
        )
    if mode != "affine":
        if found != default:
            raise UnsupportedError(
                f"The config asks {mode} for {found.bits} bits in groups of {found.group_size}; "
                f"MLX's {mode} has {default.bits} bits in groups of {default.group_size} only."
            )
    elif found.bits not in AFFINE_BITS or found.group_size not in AFFINE_GROUPS:
        raise UnsupportedError(
            f"The config asks affine for {found.bits} bits in groups of {found.group_size}; "
            f"MLX has {AFFINE_BITS} bits and groups of {AFFINE_GROUPS}."
        )
    return found


def guess_affine(weight: Part, scales: Part) -> Settings:
    """The only affine settings these shapes allow, for a checkpoint whose config is silent.

    Raises:
        CheckpointError: no settings fit, or more than one pair of bits and group size does.
    """
    fits = [
        Settings("affine", bits, group)
        for bits in AFFINE_BITS
        for group in AFFINE_GROUPS
        if weight.shape[-1] * 32 == scales.shape[-1] * group * bits
    ]
    if len(fits) == 1:
        return fits[0]
    found = f"An MLX tensor has {weight.shape[-1]} words and {scales.shape[-1]} scales a row and no settings in config"
    if not fits:
        raise CheckpointError(f"{found}; no bit width and group size of MLX's fit.")
    choices = " or ".join(f"{f.bits} bits in groups of {f.group_size}" for f in fits)
    raise CheckpointError(
        f"{found}; that may be {choices}.", "Add a `quantization` entry with bits and group_size to config.json."
    )


class MLXFormat(Format):
    """A mode of MLX: `weight` uint32 `[..., out, in * bits / 32]`, `scales` `[..., out, in / group_size]`."""

    mode: ClassVar[str] = ""
    scale_dtype: ClassVar[str] = "uint8"
    part_names: ClassVar[tuple[str, ...]] = ("weight", "scales")

    def __init_subclass__(cls, *, name: str = "", **facts: Any) -> None:
        always = {
            "family": "mlx",
            "containers": ("mlx",),
            "same_size": True,
            "checked": "MLX",
            "suffixes": (*cls.part_names, "global_scale"),
        }
        super().__init_subclass__(name=name, **{**always, **facts})
        if cls.bits:  # whole groups and whole words
            cls.block_size = math.lcm(cls.group_size, 32 // math.gcd(int(cls.bits), 32))

    @classmethod
    def settings(cls) -> Settings:
        """This format as MLX's mode, bits and group size."""
        return Settings(cls.mode, int(cls.bits), cls.group_size)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if not shape or shape[-1] % cls.block_size:
            raise CheckpointError(
                f"A row of {shape[-1:]} weights is no multiple of {cls.block_size}, as {cls.name} needs."
            )
        weight = Part("uint32", (*shape[:-1], shape[-1] * int(cls.bits) // 32))
        scales = Part(cls.scale_dtype, (*shape[:-1], shape[-1] // cls.group_size))
        return {name: weight if name == "weight" else scales for name in cls.part_names}

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """Settings of the config decide; where it is silent, shapes do, if they allow one reading only.

        Raises:
            CheckpointError: parts missing or in excess, shapes against settings, shapes of more than one meaning.
            UnsupportedError: settings MLX does not have.
        """
        if not {"weight", "scales"} <= set(stored) or stored["weight"].dtype != "uint32":
            return None
        weight, scales = stored["weight"], stored["scales"]
        if 0 in (*(weight.shape or (0,)), *(scales.shape or (0,))):
            raise CheckpointError(
                f"An MLX tensor has words {weight.shape} and scales {scales.shape}; expected matrices."
            )
        named = read_settings(quantization) if quantization else cls.silent(weight, scales)
        if named != cls.settings():
            return None
        if set(stored) != set(cls.part_names):
            raise CheckpointError(
                f"A {cls.name} tensor is stored as {', '.join(sorted(stored))}; "
                f"expected {', '.join(sorted(cls.part_names))}."
            )
        by_weight, by_scales = weight.shape[-1] * 32 / cls.bits, scales.shape[-1] * cls.group_size
        if by_weight != by_scales:
            raise CheckpointError(
                f"The config says {int(cls.bits)} bits in groups of {cls.group_size}, by which the packed words hold "
                f"{by_weight:g} weights a row and the scales serve {by_scales}."
            )
        return cls, (*weight.shape[:-1], by_scales)

    @classmethod
    def silent(cls, weight: Part, scales: Part) -> Settings | None:
        """Settings read from shapes alone, None where the parts are another mode's."""
        if scales.dtype == "uint8":  # bytes for scales: the three float modes differ in words per scale
            words = weight.shape[-1] / max(scales.shape[-1], 1)
            return next(
                (s for s in DEFAULTS.values() if s.mode != "affine" and s.bits * s.group_size == words * 32), None
            )
        return guess_affine(weight, scales)

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native:
        """Itself, as stored."""
        p = t.parts
        return Native(cls.mode, int(cls.bits), cls.group_size, p["weight"], p["scales"], p.get("biases"))
