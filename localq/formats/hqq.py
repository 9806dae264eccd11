"""hqq_<bits>bit_g<group>[_axis0]: Half-Quadratic Quantization; weight = (code - zero) * scale, zero being a float.

The matrix is read row by row and cut anew: for axis 1 as `[out * in / group, group]` with `scale`, `zero` `[rows,
1]`; for axis 0 as `[group, out * in / group]` with `[1, columns]`, so that a group is a column of it. `W_q` packs
its rows in equal blocks, the first block in the highest bits of a byte or int32:

    8bit_u8 (also 5, 6 bits)  4bit_u8  2bit_u8  1bit_u8   1, 2, 4, 8 blocks a byte
    3bit_32                                               10 blocks an int32 (bits 27 to 0), rows padded with zeros

`view_as_float` is a W_q whose bytes were relabelled as a float dtype. The other arrays beside it
(HQQLinear.state_dict, `encoded_state_dict`) are settings: shape int64 `[2]`, nbits, group_size, axis int32, names as
characters, flags uint8. Older files with quantised scales or zeros were pickles only. Source: hqq/core/quantize.py,
bitpack.py, utils.py, 0.2.8.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part
from localq.formats.bits import pack
from localq.formats.integers import affine, affine_bits, affine_group, native_bits
from localq.formats.reselect import floats, numbers, run_of

_PACKED = {"8bit_u8": (8, 1), "4bit_u8": (4, 2), "3bit_32": (3, 10), "2bit_u8": (2, 4), "1bit_u8": (1, 8)}
_PACKING = {1: "1bit_u8", 2: "2bit_u8", 3: "3bit_32", 4: "4bit_u8", 5: "8bit_u8", 6: "8bit_u8", 8: "8bit_u8"}
_DTYPES = {"uint8": 1, "int32": 4, "float16": 2, "bfloat16": 2, "float32": 4}
_NUMBERS = "int32|uint8|float32|int64|bool"
_WORDS = ("packing", "unpack_view_dtype", "compute_dtype")
_SETTINGS = (
    *("nbits", "group_size", "axis", "view_as_float", "quant_scale", "quant_zero", "offload_meta"),
    *("encoded_state_dict", "stores_quant_config", "channel_wise", "optimize", "round_zero"),
)
_NAME = re.compile(r"hqq_([1-8])bit_g(\d{1,6})(_axis0)?(?:_(bytes))?(?:_in_(float16|bfloat16|float32))?")


class HQQ(
    Format,
    name="hqq",
    checked="hqq",
    kernel="integers",
    family="hqq",
    bits=4,
    group_size=64,
    bits_per_weight=4.5,
    symmetric=False,
    scale="16-bit float scale and zero per group",
    containers=("safetensors",),
    mains=("W_q",),
    suffixes=("W_q", "scale", "zero", "shape", *_WORDS, *_SETTINGS),
    scale_parts=("scale", "zero"),
    zero_scales=True,
):
    axis: ClassVar[int] = 1
    packing: ClassVar[str] = "4bit_u8"
    viewed: ClassVar[str] = ""  # the float dtype W_q's bytes are labelled as

    @classmethod
    def of(cls, bits: int, group: int, axis: int = 1, packing: str = "", viewed: str = "") -> type[HQQ]:
        """The variant of this width, group and axis; `packing` where it is not the width's own."""
        packing = packing or _PACKING[bits]
        own = packing == _PACKING[bits]
        stored = _width(packing) + 32 / group
        kind = f"{'_axis0' * (not axis)}{'' if own else '_bytes'}{f'_in_{viewed}' if viewed else ''}"
        return HQQ.variant(
            f"hqq_{bits}bit_g{group}{kind}",
            bits=bits,
            group_size=group,
            axis=axis,
            packing=packing,
            viewed=viewed,
            bits_per_weight=stored,
            same_size=axis == 1 and native_bits(bits, group, True) <= 1.1 * stored,
        )

    @classmethod
    def find(cls, name: str) -> type[HQQ] | None:
        found = _NAME.fullmatch(name)
        if found is None or int(found[1]) not in _PACKING:
            return None
        bits = int(found[1])
        return cls.of(bits, int(found[2]), 0 if found[3] else 1, "8bit_u8" if found[4] else "", found[5] or "")

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(4, 64), cls.of(3, 64), cls.of(4, 64, 0), cls.of(2, 32, viewed="bfloat16"), cls.of(8, 128)

    @classmethod
    def cut(cls, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of the matrix that is packed."""
        rest = math.prod(shape) // cls.group_size
        return (rest, cls.group_size) if cls.axis else (cls.group_size, rest)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if math.prod(shape) % cls.group_size:
            raise CheckpointError(f"A matrix of shape {shape} is no whole number of groups of {cls.group_size}.")
        rows, columns = cls.cut(shape)
        blocks = _PACKED[cls.packing][1]
        if rows % blocks and cls.packing != "3bit_32":
            raise CheckpointError(f"{rows} rows of groups do not make {blocks} blocks, as {cls.packing} packs them.")
        stored = "int32" if cls.packing == "3bit_32" else "uint8"
        wide = columns * _DTYPES[stored] // _DTYPES[cls.viewed or stored]
        scale = Part("float16|bfloat16|float32", (rows, 1) if cls.axis else (1, columns))
        return {"W_q": Part(cls.viewed or stored, (-(-rows // blocks), wide)), "scale": scale, "zero": scale}

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        """The settings, which `match` reads."""
        numbers = {name: Part(_NUMBERS, ()) for name in _SETTINGS}
        return {**numbers, **{name: Part("uint8", (1,)) for name in _WORDS}, "shape": Part("int64", (2,))}

    @classmethod
    def check_parts(cls, shape: tuple[int, ...], parts: Mapping[str, Part]) -> None:
        """As the layout has it, words being of any length."""
        words = {n: Part(p.dtype, (1,)) if n in _WORDS and len(p.shape) == 1 else p for n, p in parts.items()}
        super().check_parts(shape, words)

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """The arrays beside W_q say all; what the config says of this module, in methods/hqq.py, may only agree."""
        if "W_q" not in stored or "weight" in stored or "qweight" in stored:
            return None
        shape = tuple(int(n) for n in _read(stored, "shape", "int64", None))
        bits, group, axis = _number(stored, "nbits"), _number(stored, "group_size"), _number(stored, "axis")
        for flag in ("quant_scale", "quant_zero"):
            if flag in stored and _number(stored, flag):
                raise UnsupportedError(f"HQQ stored this module with {flag}: scales quantised again are not supported.")
        if "channel_wise" in stored and not _number(stored, "channel_wise"):
            raise UnsupportedError("HQQ stored this module with channel_wise false: one scale for a matrix.")
        packing = bytes(_read(stored, "packing", "uint8", None)).decode("ascii", "replace")
        if packing not in _PACKED or (bits not in _PACKING and bits != 1.58):
            raise UnsupportedError(
                f"HQQ stored {bits:g} bits as {packing[:20]!r}; localq knows {', '.join(map(str, _PACKING))} bits and "
                f"{', '.join(_PACKED)}."
            )
        whole = math.ceil(bits)
        if len(shape) != 2 or min(shape) < 1 or group < 1 or group % 1 or axis not in (0, 1) or _width(packing) < bits:
            raise CheckpointError(
                f"HQQ's settings are shape {shape}, nbits {bits:g}, group_size {group:g}, axis {axis:g}, packing "
                f"{packing!r}; expected two lengths, axis 0 or 1 and a packing that holds the bits."
            )
        _agree(quantization, {"nbits": bits, "group_size": group, "axis": axis})
        dtype = stored["W_q"].dtype
        own = "int32" if packing == "3bit_32" else "uint8"
        viewed = "" if dtype == own else dtype
        if viewed and viewed not in _DTYPES:
            raise CheckpointError(f"W_q is {dtype}; expected {own} or a float dtype its bytes are labelled as.")
        if packing not in (_PACKING[whole], "8bit_u8"):
            raise UnsupportedError(f"HQQ stored {bits:g} bits as {packing!r}; expected {_PACKING[whole]!r}.")
        return cls.of(whole, int(group), int(axis), packing, viewed), shape

    @classmethod
    def codes(cls, t: PackedTensor) -> NDArray[np.uint8]:
        """Codes of the packed matrix, `cut(shape)`."""
        return cls.run_of_codes(t, 0, cls.cut(t.shape)[0])

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        out = cls.codes(t).astype(np.float32)
        out -= t.parts["zero"].astype(np.float32)
        out *= t.parts["scale"].astype(np.float32)
        return out.reshape(t.shape)

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """Packed anew for axis 1, a row being whole groups; else decoded."""
        rows, width = t.shape
        chosen = numbers(index, rows)
        if cls.axis and width % cls.group_size == 0:
            each = width // cls.group_size
            at = (chosen[:, None] * each + np.arange(each)).reshape(-1)
            return cls.packed(cls.some_codes(t, at), t.parts["scale"][at], t.parts["zero"][at], (len(chosen), width))
        run = run_of(index, rows)
        if cls.axis or run is None:
            return floats(cls.dequantize(t)[chosen])
        columns = t.size // cls.group_size  # axis 0: the rows of the packed matrix these weights lie in
        first, last = run.start * width // columns, -(-run.stop * width // columns)
        codes = cls.some_codes(t, np.arange(first, last)).astype(np.float32)
        codes -= t.parts["zero"].astype(np.float32)
        codes *= t.parts["scale"].astype(np.float32)
        begin = run.start * width - first * columns
        return floats(codes.reshape(-1)[begin : begin + (run.stop - run.start) * width].reshape(-1, width))

    @classmethod
    def some_codes(cls, t: PackedTensor, at: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Rows `at` of `codes`."""
        wide, blocks = _PACKED[cls.packing]
        words = _words(t)
        shift = (wide * (blocks - 1 - at // len(words))).astype(words.dtype)[:, None]
        found: NDArray[np.uint8] = (words[at % len(words)] >> shift & ((1 << wide) - 1)).astype(np.uint8)
        return found

    @classmethod
    def run_of_codes(cls, t: PackedTensor, first: int, last: int) -> NDArray[np.uint8]:
        """Rows `first` to `last` of `codes`: of each field of the words those that lie in it."""
        wide, blocks = _PACKED[cls.packing]
        words = _words(t)
        out = np.empty((last - first, words.shape[1]), np.uint8)
        for i in range(blocks):
            start, stop = (min(max(at, i * len(words)), (i + 1) * len(words)) for at in (first, last))
            some = words[start - i * len(words) : stop - i * len(words)]
            fields = some >> (wide * (blocks - 1 - i)) & ((1 << wide) - 1)
            np.copyto(out[start - first : stop - first], fields, casting="unsafe")
        return out

    @classmethod
    def packed(cls, codes: Array, scale: Array, zero: Array, shape: tuple[int, ...]) -> PackedTensor:
        """A tensor of these codes `[out * in / group, group]`: packed alike, or in bytes where they cannot be."""
        wide, blocks = _PACKED[cls.packing]
        packing = cls.packing if len(codes) % blocks == 0 else "8bit_u8"
        wide, blocks = _PACKED[packing]
        words = np.zeros((len(codes) // blocks, codes.shape[1]), np.int32)
        for i, block in enumerate(codes.reshape(blocks, -1, codes.shape[1])):
            words |= block.astype(np.int32) << np.int32(wide * (blocks - 1 - i))
        stored: Array = words if packing == "3bit_32" else words.astype(np.uint8)
        form = HQQ.of(int(cls.bits), cls.group_size, 1, packing)
        return PackedTensor(form, shape, {"W_q": stored, "scale": scale, "zero": zero})

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """Packed anew; None for axis 0, where a group may run over several rows."""
        width = tensors[0].shape[1]
        if not cls.axis:
            return None
        parts = [np.concatenate([t.parts[n].astype(np.float32) for t in tensors]) for n in ("scale", "zero")]
        codes = np.concatenate([cls.codes(t) for t in tensors])
        return cls.packed(codes, parts[0], parts[1], (sum(t.shape[0] for t in tensors), width))

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        aligned = t.shape[-1] % cls.group_size == 0
        return bool(cls.axis and aligned and affine_bits(int(cls.bits)) and affine_group(cls.group_size, t.shape[-1]))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine with bias = -scale * zero, which rounds where zero is no short number."""
        return cls.native_rows(t, slice(0, t.shape[-2])) if len(t.shape) == 2 and cls.has_native(t) else None

    @classmethod
    def native_rows(cls, t: PackedTensor, rows: slice) -> Native | None:
        bits, groups = affine_bits(int(cls.bits)), t.shape[1] // cls.group_size
        named = (t.parts[n].reshape(-1, groups)[rows] for n in ("scale", "zero"))
        scales, zeros = (np.ascontiguousarray(a, np.float32) for a in named)
        codes = cls.run_of_codes(t, rows.start * groups, rows.stop * groups)
        return affine(pack(codes.reshape(-1, t.shape[1]), bits), bits, cls.group_size, scales, zeros)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        stored = layout["W_q"].shape
        raw = rng.integers(0, 256, (stored[0], stored[1] * _DTYPES[layout["W_q"].dtype]), np.uint8)
        if cls.packing == "3bit_32":
            raw = (raw.view(np.uint32) & np.uint32((1 << 30) - 1)).view(np.uint8)
        elif cls.packing == "8bit_u8":
            raw &= np.uint8((1 << int(cls.bits)) - 1)
        top = (1 << int(cls.bits)) - 1
        scale = (rng.uniform(0.5, 1.5, layout["scale"].shape) / (top + 1)).astype(np.float16)
        zero = rng.uniform(0.4 * top, 0.6 * top, scale.shape).astype(np.float16)
        return PackedTensor(cls, shape, {"W_q": raw.view(_kind(layout["W_q"].dtype)), "scale": scale, "zero": zero})


def _kind(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def _width(packing: str) -> float:
    return 3.2 if packing == "3bit_32" else _PACKED[packing][0]


def _words(t: PackedTensor) -> Array:
    """W_q as the integers it is."""
    own = np.int32 if t.format.packing == "3bit_32" else np.uint8  # type: ignore[attr-defined]
    return np.ascontiguousarray(t.parts["W_q"]).view(own)


def _read(stored: Mapping[str, Part], name: str, dtype: str, shape: tuple[int, ...] | None) -> Array:
    if name not in stored:
        raise CheckpointError(f"Beside W_q there is no '{name}', which HQQ writes and localq needs.")
    part = stored[name]
    if part.dtype not in dtype.split("|") or (shape is None and len(part.shape) != 1) or part.shape[:1] > (64,):
        raise CheckpointError(f"'{name}' beside W_q is {part.dtype} {part.shape}; expected {dtype} and one axis.")
    return part.values()


def _number(stored: Mapping[str, Part], name: str) -> float:
    part = stored.get(name)
    if part is None or math.prod(part.shape) != 1 or part.dtype not in ("int32", "int64", "uint8", "float32", "bool"):
        found = "missing" if part is None else f"{part.dtype} {part.shape}"
        raise CheckpointError(f"'{name}' beside W_q is {found}; expected one number.")
    return round(float(part.values().reshape(-1)[0]), 4)


def _agree(quantization: Mapping[str, Any] | None, found: Mapping[str, float]) -> None:
    for key, value in found.items():
        said = (quantization or {}).get(key)
        if said is not None and said != value:
            raise CheckpointError(f"The config says {key} {said} for this module, its own array {value:g}.")
