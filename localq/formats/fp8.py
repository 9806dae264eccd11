"""fp8_<code>_<grain>: 8-bit floats under a scale; weight = code * scale, the scale multiplied whatever its name says.

`weight` is E4M3 (largest 448) or E5M2 (57344), `[..., out, in]`. Beside it `weight_scale`, or `weight_scale_inv` in
DeepSeek's naming, which is no inverse either:

    tensor    one scale: (), (1,) or (1, 1)
    channel   one per output: (out,) or (out, 1)
    blockB    one per B x B block of the matrix, the last ones cut off: (ceil(out / B), ceil(in / B)); ModelOpt writes
              (out / B, 1, in / B, 1)
    groupG    one per G weights of a row: (out, ceil(in / G)); also what rows cut out of blocks become

Scales are float32, bfloat16, float16 or powers of two (E8M0). Where a part is named or shaped differently the
variant's name says so (`_inv`, `_flat`, ...). Blocks step by B from row 0 also where the last is short, as DeepSeek's
kernel, vLLM and compressed-tensors read them. Sources: DeepSeek-V3 inference/kernel.py `weight_dequant`;
compressed_tensors/quantization/lifecycle/forward.py; fbgemm_fp8 in transformers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.base import Array, Format, Match, Native, PackedTensor, Part, count

_CODES = {"float8_e4m3fn": "e4m3", "float8_e5m2": "e5m2"}
_DTYPES = {"e4m3": np.dtype(ml_dtypes.float8_e4m3fn), "e5m2": np.dtype(ml_dtypes.float8_e5m2)}
_SCALES = "float32|bfloat16|float16|float8_e8m0fnu"
_USUAL = {"tensor": "one", "channel": "column", "block": "grid", "group": "grid"}  # the shape a name does not mention
_NAME = re.compile(r"fp8_(e4m3|e5m2)_(tensor|channel|(block|group)(\d{1,5}))(?:_(scalar|pair|flat|grid4))?(_inv)?")
_METHODS = ("fp8", "fbgemm_fp8", "modelopt", "compressed-tensors")


_GRAINS = (  # grain and shape of its scales, in the order they are tried
    *(("block", style) for style in ("grid", "grid4")),
    *(("tensor", style) for style in ("scalar", "one", "pair")),
    *(("channel", style) for style in ("column", "flat")),
    ("group", "grid"),
)


class FP8(
    Format,
    name="fp8",
    family="fp8",
    bits=8,
    group_size=128,
    bits_per_weight=8.002,
    scale="float per tensor, channel or block of 128 x 128",
    containers=("safetensors",),
    mains=("weight",),
    suffixes=("weight", "weight_scale", "weight_scale_inv"),
    zero_scales=True,  # a row of zeros has a scale of zero
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
            name + ("_inv" if part == "weight_scale_inv" else ""),
            code=code,
            grain=grain,
            group_size=block,
            style=style,
            part=part,
            scale_parts=(part,),
            row_multiple=block if grain == "block" else 1,
            scale={"tensor": "float per tensor", "channel": "float per output", "group": f"float per {block}"}.get(
                grain, f"float per {block} x {block} block"
            ),
            bits_per_weight=8 + {"block": 32 / (block or 1) ** 2, "group": 32 / (block or 1)}.get(grain, 0.0),
            same_size=code == "e4m3" and grain in ("tensor", "channel"),
        )

    @classmethod
    def find(cls, name: str) -> type[FP8] | None:
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        part = "weight_scale_inv" if found[6] else "weight_scale"
        return cls.of(found[1], found[3] or found[2], int(found[4] or 0), found[5] or "", part)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        block = cls.of("e4m3", "block", 128, part="weight_scale_inv")
        return cls.of("e4m3", "tensor"), cls.of("e4m3", "channel"), block, cls.of("e5m2", "tensor")

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) < 2:
            raise CheckpointError(f"A {cls.name} tensor has shape {shape}; a matrix was expected.")
        return {"weight": Part(_DTYPES[cls.code].name, shape), cls.part: Part(_SCALES, cls.scale_shape(shape))}

    @classmethod
    def scale_shape(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Stored shape of the scales of a tensor `[..., out, in]`."""
        *lead, out, width = shape
        if cls.grain == "group":
            return (*lead, out, -(-width // cls.group_size))
        if cls.grain == "block":
            rows, columns = -(-out // cls.group_size), -(-width // cls.group_size)
            return (*lead, rows, 1, columns, 1) if cls.style == "grid4" else (*lead, rows, columns)
        tail = {"scalar": (), "one": (1,), "pair": (1, 1), "flat": (out,), "column": (out, 1)}[cls.style]
        return (*lead, *tail)

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """The scales' shape says the grain; a config's `weight_block_size` must agree with it."""
        main = stored.get("weight")
        if main is None or main.dtype not in _CODES or len(main.shape) < 2:
            return None
        part = next((name for name in ("weight_scale_inv", "weight_scale") if name in stored), "")
        if not part or stored[part].dtype not in _SCALES.split("|") or len(stored) != 2:
            return None
        method = (quantization or {}).get("quant_method")
        if method not in _METHODS:
            return None
        block = _block(quantization or {})
        for grain, style in _GRAINS:
            if grain in ("block", "group") and not block:
                continue
            form = FP8.of(_CODES[main.dtype], grain, block if grain in ("block", "group") else 0, style, part)
            if form.scale_shape(main.shape) == stored[part].shape:
                return form, main.shape
        said = f"blocks of {block}" if block else "no blocks"
        raise CheckpointError(
            f"A matrix of 8-bit floats {main.shape} has scales {stored[part].shape}, and the config says {said}; "
            f"expected one scale, one per output, or one per block."
        )

    @classmethod
    def scales(cls, t: PackedTensor) -> dict[str, Array]:
        return {cls.part: t.parts[cls.part].astype(np.float32)}

    @classmethod
    def wide(cls, t: PackedTensor) -> NDArray[np.float32]:
        """Scales as float32: `[..., 1, 1]`, `[..., out, 1]`, or `[..., out, groups]` for groups and blocks."""
        found: NDArray[np.float32] = t.parts[cls.part].astype(np.float32)
        lead, block = t.shape[:-2], int(cls.group_size)
        if cls.grain == "block":
            grid = found.reshape(*lead, -(-t.shape[-2] // block), -1)
            return np.repeat(grid, block, axis=-2)[..., : t.shape[-2], :]
        return found if cls.grain == "group" else found.reshape(*lead, -1, 1)

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        values: NDArray[np.float32] = t.parts["weight"].astype(np.float32)
        scales = cls.wide(t)
        with np.errstate(all="ignore"):
            if cls.grain in ("tensor", "channel"):
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
        scales = np.ascontiguousarray(cls.wide(t)[..., index, :])
        return PackedTensor(FP8.of(cls.code, "group", block), shape, {"weight": codes, "weight_scale": scales})

    @classmethod
    def select_matrix(cls, t: PackedTensor, index: int) -> PackedTensor:
        return PackedTensor(cls, t.shape[1:], {name: part[index] for name, part in t.parts.items()})

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
        form = FP8.of(cls.code, "group", block) if block else FP8.of(cls.code, "channel")
        return PackedTensor(form, shape, {"weight": codes, "weight_scale": scales})

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return cls.code == "e4m3" and cls.grain in ("tensor", "channel") and t.shape[-1] % 32 == 0

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """mxfp8 with the scale's power of two in its scales and the rest, 1 to 2, multiplied onto the output."""
        if not cls.has_native(t) or len(t.shape) != 2:
            return None
        out, width = t.shape
        scales = np.broadcast_to(cls.wide(t)[:, 0], out)
        rest, power = np.frexp(np.where(scales == 0, np.float32(1), scales))
        power = power - 1 + 127  # frexp's mantissa is 0.5 to 1
        if scales.min(initial=1) < 0 or power.min() < 1 or power.max() > 246:
            return None
        codes = np.ascontiguousarray(t.parts["weight"]).view(np.uint8)
        multiplier = np.where(scales == 0, np.float32(0), 2 * rest).astype(np.float32)
        exponents = np.broadcast_to(power.astype(np.uint8)[:, None], (out, width // 32))
        return Native("mxfp8", 8, 32, codes.view(np.uint32), np.ascontiguousarray(exponents), multiplier=multiplier)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        codes = rng.standard_normal(shape).astype(np.float32).astype(_DTYPES[cls.code])
        scales = rng.uniform(0.5, 1.5, layout[cls.part].shape).astype(np.float32)
        return PackedTensor(cls, shape, {"weight": codes, cls.part: scales})


def _block(quantization: Mapping[str, Any]) -> int:
    """Side of the blocks a config asks for, 0 for none.

    Raises:
        UnsupportedError: blocks that are not square.
        CheckpointError: no pair of numbers.
    """
    found = quantization.get("weight_block_size")
    if found is None:
        return 0
    if not isinstance(found, (list, tuple)) or len(found) != 2 or not all(type(n) is int and n > 0 for n in found):
        raise CheckpointError(f"The config's weight_block_size is {found!r}; two positive numbers were expected.")
    if found[0] != found[1]:
        raise UnsupportedError(f"Blocks of {found[0]} x {found[1]} weights; localq knows square ones.")
    return int(found[0])
