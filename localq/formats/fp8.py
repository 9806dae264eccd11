"""fp8_<code>_<grain>: 8-bit floats under a scale; weight = code * scale, the scale multiplied whatever its name says.

`weight` is E4M3 (largest 448) or E5M2 (57344), `[..., out, in]`. Beside it `weight_scale`, or `weight_scale_inv` in
DeepSeek's naming, which is no inverse either (its V4 says `scale`):

    tensor    one scale: (), (1,) or (1, 1)
    halves    one for the upper half of the rows, one for the lower (gate and up in one matrix): (2, 1)
    channel   one per output: (out,) or (out, 1)
    blockB    one per B x B block of the matrix, the last ones cut off: (ceil(out / B), ceil(in / B)); ModelOpt writes
              (out / B, 1, in / B, 1)
    groupG    one per G weights of a row: (out, ceil(in / G)); also what rows cut out of blocks become

Scales are float32, bfloat16, float16 or, of blocks, powers of two too: E8M0, also as uint8 (`_powers`). Where a part
is named or shaped differently the variant's name says so (`_inv`, `_flat`, ...). Blocks step by B from row 0 also
where the last is short, as DeepSeek's kernel, vLLM and compressed-tensors read them. No scale is zero: quantisers
write 1 or the smallest step for rows and blocks of zeros (transformers' `Fp8Quantize`, compressed-tensors'
`calculate_qparams`, ModelOpt's `get_scaling_factor`), so a zero is damage, and the codes under it were divided by it.
Sources: DeepSeek-V3 inference/kernel.py `weight_dequant`; compressed_tensors/quantization/lifecycle/forward.py;
transformers/integrations finegrained_fp8.py and fbgemm_fp8.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part, count

_CODES = {"float8_e4m3fn": "e4m3", "float8_e5m2": "e5m2"}
_DTYPES = {"e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2"}
_FLOATS = "float32|bfloat16|float16"
_POWERS = "float8_e8m0fnu|uint8"
_USUAL = {  # the shape a name does not mention
    **{"tensor": "one", "halves": "two", "channel": "column", "block": "grid", "group": "grid"},
}
_NAME = re.compile(
    r"fp8_(e4m3|e5m2)_(tensor|halves|channel|(block|group)(\d{1,5}))(?:_(scalar|pair|flat|grid4|powers))?(_inv|_scale)?"
)
_PARTS = {"weight_scale_inv": "_inv", "weight_scale": "", "scale": "_scale"}  # and how names of variants end
_METHODS = ("fp8", "fbgemm_fp8", "modelopt", "compressed-tensors", "quark")
_PLAIN = (  # grains without blocks and the shapes of their scales, in the order they are tried
    *(("tensor", 0, style) for style in ("scalar", "one", "pair")),
    ("halves", 0, "two"),
    *(("channel", 0, style) for style in ("column", "flat")),
)
_ROWS = ("tensor", "halves", "channel")  # grains whose scales do not vary along a row


class FP8(
    Format,
    name="fp8",
    checked="compressed-tensors, modelopt, transformers, amd-quark",
    kernel="fp8",
    family="fp8",
    bits=8,
    group_size=128,
    bits_per_weight=8.002,
    scale="float per tensor, channel or block of 128 x 128",
    containers=("safetensors",),
    mains=("weight",),
    suffixes=("weight", "weight_scale", "weight_scale_inv", "scale"),
):
    code: ClassVar[str] = "e4m3"
    grain: ClassVar[str] = "tensor"
    style: ClassVar[str] = "one"
    part: ClassVar[str] = "weight_scale"

    @classmethod
    def of(cls, code: str, grain: str, block: int = 0, style: str = "", part: str = "weight_scale") -> type[FP8]:
        """The variant of these codes and scales."""
        style = style or _USUAL[grain]
        name = f"fp8_{code}_{grain}{block or ''}" + (f"_{style}" if style != _USUAL[grain] else "")
        return cls.variant(
            name + _PARTS[part],
            code=code,
            grain=grain,
            group_size=block,
            style=style,
            part=part,
            scale_parts=(part,),
            row_multiple=block if grain == "block" else 1,
            scale=_said(grain, block),
            bits_per_weight=8
            + (8 if style == "powers" else 32) / {"block": block**2, "group": block}.get(grain, 1 << 24),
            same_size=code == "e4m3" and (grain in _ROWS or style == "powers" and block % 32 == 0),
        )

    @classmethod
    def find(cls, name: str) -> type[FP8] | None:
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        part = next(part for part, end in _PARTS.items() if end == (found[6] or ""))
        return cls.of(found[1], found[3] or found[2], int(found[4] or 0), found[5] or "", part)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        blocks = (cls.of("e4m3", "block", 128, style, "weight_scale_inv") for style in ("grid", "powers"))
        return cls.of("e4m3", "tensor"), cls.of("e4m3", "channel"), *blocks, cls.of("e5m2", "tensor")

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) < 2:
            raise CheckpointError(f"A {cls.name} tensor has shape {shape}; a matrix was expected.")
        if cls.grain == "halves" and shape[-2] % 2:
            raise CheckpointError(f"A {cls.name} tensor has shape {shape}; an even number of rows was expected.")
        kinds = _POWERS if cls.style == "powers" else _FLOATS
        return {"weight": Part(_DTYPES[cls.code], shape), cls.part: Part(kinds, cls.scale_shape(shape))}

    @classmethod
    def scale_shape(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Stored shape of the scales of a tensor `[..., out, in]`."""
        *lead, out, width = shape
        if cls.grain == "group":
            return (*lead, out, -(-width // cls.group_size))
        if cls.grain == "block":
            rows, columns = -(-out // cls.group_size), -(-width // cls.group_size)
            return (*lead, rows, 1, columns, 1) if cls.style == "grid4" else (*lead, rows, columns)
        tails = {"scalar": (), "one": (1,), "pair": (1, 1), "two": (2, 1), "flat": (out,), "column": (out, 1)}
        tail = tails[cls.style]
        return (*lead, *tail)

    @classmethod
    def fits(cls, shape: tuple[int, ...], scales: Part) -> bool:
        """Whether stored scales are of this variant's dtypes and shape for a tensor of this shape."""
        kinds = _POWERS if cls.style == "powers" else _FLOATS
        return cls.scale_shape(shape) == scales.shape and scales.dtype in kinds.split("|")

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """The config says whether there are blocks; the scales' shape must be one of those that it allows."""
        main, settings = stored.get("weight"), quantization or {}
        if main is None or main.dtype not in _CODES or len(main.shape) < 2:
            return None
        if settings.get("quant_method") not in _METHODS or settings.get("weight_scale_semantics") is not None:
            return None
        part = _scale_part(stored)
        scales = stored[part]
        if len(stored) != 2 or _is_mxfp8(main, part, scales):
            return None
        grains = [
            grain for grain in _grains(settings, part, scales.dtype) if grain[0] != "halves" or len(main.shape) > 2
        ]
        forms = [FP8.of(_CODES[main.dtype], *grain, part) for grain in grains]
        for form in forms:
            if form.fits(main.shape, scales):
                _check_scale_format(settings, part, scales)
                return form, main.shape
        wanted = ", ".join(dict.fromkeys(f"{form.scale_shape(main.shape)} ({form.scale})" for form in forms))
        raise CheckpointError(
            f"A matrix of 8-bit floats {main.shape} has {part} {scales.dtype} {scales.shape}; with the config's "
            f"weight_block_size {settings.get('weight_block_size')!r} expected {wanted}."
        )

    @classmethod
    def scales(cls, t: PackedTensor) -> dict[str, Array]:
        return {cls.part: _floats(t.parts[cls.part])}

    @classmethod
    def wide(cls, t: PackedTensor) -> NDArray[np.float32]:
        """Scales as float32: `[..., 1, 1]`, `[..., out, 1]`, or `[..., out, groups]` for groups and blocks."""
        found = _floats(t.parts[cls.part])
        lead, block = t.shape[:-2], int(cls.group_size)
        if cls.grain == "block":
            grid = found.reshape(*lead, -(-t.shape[-2] // block), -1)
            return np.repeat(grid, block, axis=-2)[..., : t.shape[-2], :]
        if cls.grain == "halves":
            return np.repeat(found, t.shape[-2] // 2, axis=-2)
        return found if cls.grain == "group" else found.reshape(*lead, -1, 1)

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        values: NDArray[np.float32] = t.parts["weight"].astype(np.float32)
        scales = cls.wide(t)
        with np.errstate(all="ignore"):
            if cls.grain in _ROWS:
                values *= scales
                return values
            for j in range(scales.shape[-1]):  # one column of groups after the other: no second matrix of scales
                values[..., j * cls.group_size : (j + 1) * cls.group_size] *= scales[..., j : j + 1]
        return values

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """Rows with the scales they lie under; rows that cut through blocks get a scale per row and group."""
        rows = count(t.shape[-2], index)
        shape = (*t.shape[:-2], rows, t.shape[-1])
        codes, stored = t.parts["weight"][..., index, :], t.parts[cls.part]
        if cls.grain == "tensor":
            return PackedTensor(cls, shape, {"weight": codes, cls.part: stored})
        if cls.grain == "halves":
            wide = np.ascontiguousarray(cls.wide(t)[..., index, :])
            return PackedTensor(FP8.of(cls.code, "channel"), shape, {"weight": codes, "weight_scale": wide})
        if cls.grain in ("channel", "group"):
            cut = stored[..., index] if cls.style == "flat" else stored[..., index, :]
            return PackedTensor(cls, shape, {"weight": codes, cls.part: cut})
        block = int(cls.group_size)
        run = range(t.shape[-2])[index] if isinstance(index, slice) else range(0)
        if run and run.step == 1 and run.start % block == 0:
            grid = stored[..., run.start // block : -(-run.stop // block), :]
            if cls.style == "grid4":
                grid = stored[..., run.start // block : -(-run.stop // block), :, :, :]
            return PackedTensor(cls, shape, {"weight": codes, cls.part: grid})
        return cls._grouped(codes, cls.wide(t)[..., index, :])

    @classmethod
    def _grouped(cls, codes: Array, scales: NDArray[np.float32]) -> PackedTensor:
        """Codes `[..., out, in]` with a scale per row and group of them, powers of two as such."""
        style = "powers" if cls.style == "powers" else "grid"
        stored = np.ascontiguousarray(scales.astype(ml_dtypes.float8_e8m0fnu) if style == "powers" else scales)
        form = FP8.of(cls.code, "group", int(cls.group_size), style)
        return PackedTensor(form, codes.shape, {"weight": codes, "weight_scale": stored})

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """One under the other: scales per tensor become scales per output, blocks that are cut groups of a row."""
        block = int(cls.group_size)
        codes = np.concatenate([t.parts["weight"] for t in tensors], axis=-2)
        shape = (sum(t.shape[0] for t in tensors), tensors[0].shape[1])
        if cls.grain == "block" and not any(t.shape[-2] % block for t in tensors[:-1]):
            grids = np.concatenate([t.parts[cls.part] for t in tensors], axis=0)
            return PackedTensor(cls, shape, {"weight": codes, cls.part: grids})
        wide = [cls.wide(t) for t in tensors]
        scales = np.concatenate(
            [np.broadcast_to(w, (t.shape[0], w.shape[-1])) for w, t in zip(wide, tensors, strict=True)]
        )
        if block:
            return cls._grouped(codes, scales)
        return PackedTensor(FP8.of(cls.code, "channel"), shape, {"weight": codes, "weight_scale": scales})

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        if cls.code != "e4m3" or t.shape[-1] % 32:
            return False
        return cls.grain in _ROWS or cls.group_size % 32 == 0 and _are_powers(_floats(t.parts[cls.part]))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """mxfp8 with the scale's power of two in its scales and the rest, 1 to 2, multiplied onto the output.

        Scales that vary along a row must be powers of two, which leave no rest.
        """
        if not cls.has_native(t) or len(t.shape) != 2:
            return None
        out, width = t.shape
        scales = cls.wide(t)
        rest, power = np.frexp(scales)
        power = power - 1 + 127  # frexp's mantissa is 0.5 to 1
        if scales.min(initial=1) <= 0 or power.min() < 1 or power.max() > 246:
            return None
        exponents = np.repeat(power.astype(np.uint8), (cls.group_size or width) // 32, axis=-1)[:, : width // 32]
        exponents = np.ascontiguousarray(np.broadcast_to(exponents, (out, width // 32)))
        codes = np.ascontiguousarray(t.parts["weight"]).view(np.uint8)
        native = Native("mxfp8", 8, 32, codes.view(np.uint32), exponents)
        if cls.grain not in _ROWS:
            return native
        return replace(native, multiplier=np.ascontiguousarray(np.broadcast_to(2 * rest[:, 0], out), np.float32))

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        codes = rng.standard_normal(shape).astype(np.float32).astype(getattr(ml_dtypes, _DTYPES[cls.code]))
        scales: Array = rng.uniform(0.5, 1.5, layout[cls.part].shape).astype(np.float32)
        if cls.style == "powers":
            scales = np.exp2(np.round(8 * scales) - 16).astype(ml_dtypes.float8_e8m0fnu)
        return PackedTensor(cls, shape, {"weight": codes, cls.part: scales})


def _said(grain: str, block: int) -> str:
    """What one scale covers."""
    words = {"tensor": "float per tensor", "halves": "float per half", "channel": "float per output"}
    return words.get(grain) or (f"float per {block} x {block} block" if grain == "block" else f"float per {block}")


def _floats(scales: Array) -> NDArray[np.float32]:
    """Stored scales as float32; bytes are E8M0's exponents, 255 of which is NaN."""
    stored = np.asarray(scales).view(ml_dtypes.float8_e8m0fnu) if scales.dtype == np.uint8 else scales
    found: NDArray[np.float32] = stored.astype(np.float32)
    return found


def _are_powers(scales: NDArray[np.float32]) -> bool:
    return bool(np.all(np.frexp(scales)[0] == np.float32(0.5)))


def _scale_part(stored: Mapping[str, Part]) -> str:
    """Name of the one array of scales beside 8-bit floats.

    Raises:
        CheckpointError: there is none, or there are two.
    """
    found = [name for name in _PARTS if name in stored]
    if len(found) == 1:
        return found[0]
    raise CheckpointError(
        f"A matrix of 8-bit floats {stored['weight'].shape} has {' and '.join(found) or 'no scales'} beside it; "
        f"one of {', '.join(_PARTS)} was expected."
    )


def _is_mxfp8(main: Part, part: str, scales: Part) -> bool:
    """Powers of two per 32 inputs named `weight_scale` are formats/mxfp8_bytes.py's."""
    shape = (*main.shape[:-1], main.shape[-1] // 32)
    return part == "weight_scale" and scales.dtype in _POWERS.split("|") and scales.shape == shape


def _check_scale_format(settings: Mapping[str, Any], part: str, scales: Part) -> None:
    """Bytes are E8M0 ("ue8m0"); of other dtypes `scale_fmt` only tells how they were rounded."""
    said = settings.get("scale_fmt")
    if scales.dtype == "uint8" and said not in (None, "ue8m0"):
        raise CheckpointError(f"{part} is uint8, bytes of E8M0; the config's scale_fmt is {said!r}, not 'ue8m0'.")


def _grains(settings: Mapping[str, Any], part: str, dtype: str) -> list[tuple[str, int, str]]:
    """Grains the config allows for scales of this dtype: (grain, block, style).

    Raises:
        UnsupportedError: blocks that are neither square nor of one row.
        CheckpointError: no pair of numbers.
    """
    group, grid = settings.get("group_size"), "powers" if dtype in _POWERS.split("|") else "grid"
    if settings.get("strategy") == "group" and type(group) is int and group > 0:
        return [("group", group, grid)]
    found = settings.get("weight_block_size")
    if found is None:
        return list(_PLAIN)
    if not isinstance(found, (list, tuple)) or len(found) != 2 or not all(type(n) is int and n > 0 for n in found):
        raise CheckpointError(f"The config's weight_block_size is {found!r}; two positive numbers were expected.")
    rows, columns = found
    if rows == 1:
        return [("group", columns, grid)]
    if rows != columns:
        raise UnsupportedError(f"Blocks of {rows} x {columns} weights; localq knows square ones and those of one row.")
    # A table of embeddings has one scale in any checkpoint (transformers' FP8Embedding).
    table = settings.get("quant_method") == "fp8" and part == "weight_scale"
    return [("block", rows, grid), ("block", rows, "grid4"), *([("tensor", 0, "one")] if table else [])]
