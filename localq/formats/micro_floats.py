"""What OCP's and NVIDIA's micro floats in other people's arrays share: the codes are MLX's, byte for byte.

A format names its arrays; here they are shown to MLX's own format of the mode, and a scale of the whole tensor, which
MLX has no place for, becomes the output's multiplier. No format of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Array, Floats
from localq.formats.base import Format, Native, PackedTensor, Part, count
from localq.formats.mlx_floats import MLXFloatFormat


class MicroFloat(Format):
    """Codes `[..., out, in * bits / 8]` and a scale per `group_size` weights `[..., out, in / group_size]`."""

    twin: ClassVar[type[MLXFloatFormat]]
    codes_part: ClassVar[str] = "weight_packed"
    codes_dtype: ClassVar[str] = "uint8"
    scales_part: ClassVar[str] = "weight_scale"
    scales_dtype: ClassVar[str] = "uint8"
    whole_part: ClassVar[str] = ""  # the scale of the whole tensor
    whole_shape: ClassVar[tuple[int, ...]] = (1,)

    def __init_subclass__(cls, *, name: str = "", **facts: Any) -> None:
        parts = tuple(p for p in (cls.codes_part, cls.scales_part, cls.whole_part) if p)
        shared = {"suffixes": parts, "mains": (cls.codes_part,), "scale_parts": (cls.scales_part,)}
        usual = {"containers": ("safetensors",), "same_size": True, "block_size": 32, "zero_scales": True}
        super().__init_subclass__(name=name, **{**usual, **shared, **facts} if name else facts)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) < 2 or shape[-1] % cls.block_size:
            raise CheckpointError(f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of 32.")
        codes = (*shape[:-1], shape[-1] * int(cls.bits) // 8)
        parts = {cls.codes_part: Part(cls.codes_dtype, codes)}
        parts[cls.scales_part] = Part(cls.scales_dtype, (*shape[:-1], shape[-1] // cls.group_size))
        if cls.whole_part:
            parts[cls.whole_part] = Part("float32", (*shape[:-2], *cls.whole_shape))
        return parts

    @classmethod
    def shape_of(cls, stored: Mapping[str, Part]) -> tuple[int, ...] | None:
        """Logical shape if `stored` has this format's arrays in its dtypes, None otherwise.

        Raises:
            CheckpointError: they are, but their shapes contradict each other.
        """
        wanted = {cls.codes_part: cls.codes_dtype, cls.scales_part: cls.scales_dtype}
        wanted |= {cls.whole_part: "float32"} if cls.whole_part else {}
        if set(stored) != set(wanted) or any(stored[n].dtype not in d.split("|") for n, d in wanted.items()):
            return None
        codes, scales = stored[cls.codes_part].shape, stored[cls.scales_part].shape
        if len(codes) < 2 or not scales:
            return None
        width = codes[-1] * 8 // int(cls.bits)
        if scales != (*codes[:-1], width // cls.group_size):
            raise CheckpointError(
                f"{cls.codes_part} is {codes}, {width} weights a row, and {cls.scales_part} is {scales}; "
                f"expected {(*codes[:-1], width // cls.group_size)}, one per {cls.group_size}."
            )
        return (*codes[:-1], width)

    @classmethod
    def as_mlx(cls, t: PackedTensor) -> PackedTensor:
        """The same codes and scales as MLX stores them: views where the arrays are contiguous."""
        codes = np.ascontiguousarray(t.parts[cls.codes_part]).view(np.uint8)
        scales = np.ascontiguousarray(t.parts[cls.scales_part]).view(np.uint8)
        parts: dict[str, Array] = {"weight": codes.reshape(*t.shape[:-1], -1).view(np.uint32), "scales": scales}
        return PackedTensor(cls.twin, t.shape, parts)

    @classmethod
    def whole(cls, t: PackedTensor, scales: Floats) -> Floats:
        """Block scales `[...]` with the scale of the whole tensor in them, rounded as the format's makers do."""
        return scales

    @classmethod
    def multiplier(cls, t: PackedTensor) -> Floats | None:
        """What MLX's output is multiplied by, None without a scale of the whole tensor."""
        return None

    @classmethod
    def scales(cls, t: PackedTensor) -> dict[str, Array]:
        found: dict[str, Array] = {cls.scales_part: cls.twin.scale_values().take(cls.as_mlx(t).parts["scales"])}
        return found | ({cls.whole_part: t.parts[cls.whole_part]} if cls.whole_part else {})

    @classmethod
    def check_scales(cls, t: PackedTensor) -> None:
        super().check_scales(t)
        if cls.whole_part and not np.all(t.parts[cls.whole_part]):
            raise CheckpointError(
                f"Part '{cls.whole_part}' of a {cls.name} tensor of shape {t.shape} is 0.0; "
                "expected a scale other than zero."
            )

    @classmethod
    def dequantize(cls, t: PackedTensor) -> Floats:
        if not cls.whole_part:
            return cls.as_mlx(t).dequantize()
        mine = cls.as_mlx(t)
        ones = np.full_like(mine.parts["scales"], _one(cls.twin))
        values = PackedTensor(cls.twin, t.shape, {**mine.parts, "scales": ones}).dequantize()
        scales = cls.whole(t, cls.twin.scale_values().take(mine.parts["scales"]))
        groups = values.reshape(*scales.shape, cls.group_size)
        groups *= scales[..., None]
        return groups.reshape(t.shape)

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        mine, multiplier = cls.as_mlx(t), cls.multiplier(t)
        native = Native(cls.twin.mode, int(cls.bits), cls.group_size, mine.parts["weight"], mine.parts["scales"])
        if multiplier is None:
            return native
        error = _rounding(cls, t, mine.parts["scales"], multiplier)
        exactness = "rounded" if error else "exact"
        return Native(**{**vars(native), "multiplier": multiplier, "exactness": exactness, "error": error})

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        shape = (*t.shape[:-2], count(t.shape[-2], index), t.shape[-1])
        lead = (slice(None),) * (len(t.shape) - 2)
        return PackedTensor(
            t.format, shape, {n: p if n == cls.whole_part else p[(*lead, index)] for n, p in t.parts.items()}
        )

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """One under the other where the scale of the whole tensor, if any, is the same."""
        if cls.whole_part and len({t.parts[cls.whole_part].tobytes() for t in tensors}) > 1:
            return None
        shape = (sum(t.shape[0] for t in tensors), tensors[0].shape[1])
        parts = {n: np.concatenate([t.parts[n] for t in tensors]) for n in (cls.codes_part, cls.scales_part)}
        if cls.whole_part:
            parts[cls.whole_part] = tensors[0].parts[cls.whole_part]
        return PackedTensor(tensors[0].format, shape, parts)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        mine = cls.twin.quantize(rng.standard_normal(shape).astype(np.float32)).parts
        parts = {}
        for name, source in ((cls.codes_part, mine["weight"]), (cls.scales_part, mine["scales"])):
            dtype = _dtype(layout[name].dtype)
            parts[name] = source.view(np.uint8).view(dtype).reshape(layout[name].shape)
        if cls.whole_part:
            parts[cls.whole_part] = np.full(layout[cls.whole_part].shape, 0.7, np.float32)
        return PackedTensor(cls, shape, parts)


def _one(twin: type[MLXFloatFormat]) -> int:
    """The scale byte that means 1."""
    return int(np.flatnonzero(twin.scale_values() == 1)[0])


def _dtype(names: str) -> np.dtype[Any]:
    import ml_dtypes  # noqa: F401  makes numpy know the names float8_*

    return np.dtype(names.split("|")[0])


def _rounding(form: type[MicroFloat], t: PackedTensor, stored: Array, multiplier: Floats) -> float:
    """Largest difference of (code * scale) * multiplier from code * (scale with multiplier), in units of the scale."""
    levels = np.array([0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    scales = form.twin.scale_values().take(np.unique(stored))
    whole = form.whole(t, scales)
    with np.errstate(all="ignore"):
        ours = (levels * scales[:, None]) * np.float32(multiplier)
        theirs = levels * whole[:, None]
        return float(np.nan_to_num(np.abs(ours.astype(np.float64) - theirs) / np.abs(whole[:, None])).max(initial=0))
