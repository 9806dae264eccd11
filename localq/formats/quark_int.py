"""quark_<dtype>_<grain>: AMD Quark's integers; weight = (q - zero_point) * scale, 4 or 8 bits, signed or not.

    grain     weight                          weight_scale        weight_zero_point
    tensor    [out, in * bits / 32]           ()                  ()
    channel   [out, in * bits / 32]           [out]               [out * bits / 32]
    gN        [in, out * bits / 32]           [in / N, out]       [in / N, out * bits / 32]

8-bit codes and zero points are int8 or uint8, one each; those of 4 bits lie eight in an int32 (a zero point of the
whole tensor alone in one), in AWQ's order 0 2 4 6 1 3 5 7 from the low bits on, or (`_order`) one after the other;
signed ones in two's complement. Zero points are stored for symmetric schemes too. `_twice`: the codes are of 8-bit
floats, weight = ((q - zero_point) * weight_scale_2) * weight_scale, the last of the whole tensor; then the zero point
is `weight_zero_point_2`. Source: quark/torch/utils/pack.py, export/nn/modules/realquantizer.py, kernel/hw_emulation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, Floats, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part, count
from localq.formats.bits import pack, unpack
from localq.formats.integers import affine, affine_group, dequantized, native_bits

_NAME = re.compile(r"quark_(u?int)(4|8)_(?:(tensor|channel)|g(\d{1,6}))(_order)?(_twice)?")
_SLOTS, _PLACES = (0, 2, 4, 6, 1, 3, 5, 7), (0, 4, 1, 5, 2, 6, 3, 7)  # the code in each slot, the slot of each code
_TENSOR, _ROW = -1, 0  # group sizes that stand for one scale in all, and one a row
_TURNED = ("input_rotation", "input_prescale")
_USUAL = ("weight_scale", "weight_zero_point", "weight")
_TWICE = ("weight_scale_2", "weight_zero_point_2", "weight")


class Read(NamedTuple):
    """Codes uint8 `[out, in]`, scales and zero points float32 `[out, groups]`, all codes made unsigned."""

    codes: NDArray[np.uint8]
    scales: Floats
    zeros: Floats


class QuarkInt(
    Format,
    name="quark_int",
    checked="amd-quark",
    family="quark",
    bits=4,
    group_size=128,
    bits_per_weight=4.28125,
    scale="float per group, output or tensor",
    symmetric=False,
    containers=("safetensors",),
    mains=("weight",),
    suffixes=(*_USUAL, *_TWICE[:2], *_TURNED),
):
    signed: ClassVar[bool] = True
    ordered: ClassVar[bool] = False  # one code after the other, not in AWQ's order
    twice: ClassVar[bool] = False

    @classmethod
    def of(cls, dtype: str, group: int, ordered: bool = False, twice: bool = False) -> type[QuarkInt]:
        """The variant of these codes; `group` 0 is the whole row, -1 the whole tensor."""
        bits = int(dtype[-1])
        grain = {_TENSOR: "tensor", _ROW: "channel"}.get(group, f"g{group}")
        stored = bits + (0 if group == _TENSOR else (32 + bits) / (group or 4096))
        wide = bits + 32 / 128 if group <= 0 else native_bits(bits, group, True)
        return QuarkInt.variant(
            f"quark_{dtype}_{grain}" + "_order" * ordered + "_twice" * twice,
            bits=bits,
            signed=dtype[0] == "i",
            group_size=group,
            ordered=ordered,
            twice=twice,
            bits_per_weight=stored,
            row_multiple=8 if group > 0 and bits == 4 else 1,
            same_size=wide <= 1.1 * stored,
            scale_parts=("weight_scale_2", "weight_scale") if twice else ("weight_scale",),
        )

    @classmethod
    def find(cls, name: str) -> type[QuarkInt] | None:
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        group = int(found[4]) if found[4] else _TENSOR if found[3] == "tensor" else _ROW
        return cls.of(found[1] + found[2], group, found[5] is not None, found[6] is not None)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of("uint4", 128), cls.of("int8", _ROW)

    @classmethod
    def names(cls) -> tuple[str, str, str]:
        """Parts with the codes' scales, zero points, and the codes."""
        return _TWICE if cls.twice else _USUAL

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        group, per = int(cls.group_size), 8 if cls.bits == 4 else 1
        if len(shape) != 2 or shape[1] % (group if group > 0 else per):
            unit = f"groups of {group}" if group > 0 else f"{per} codes"
            raise CheckpointError(
                f"A {cls.name} tensor has shape {shape}; a matrix of rows of whole {unit} was expected."
            )
        out, width = shape
        scales, zeros, codes = cls.names()
        rows, columns = (width, out) if group > 0 else (out, width)
        lead: tuple[int, ...] = () if group == _TENSOR else (out,) if group == _ROW else (width // group, out)
        kind = "int32" if cls.bits == 4 else "int8" if cls.signed else "uint8"
        parts = {
            codes: Part(kind, (rows, cls.stored(columns))),
            scales: Part("float32|bfloat16|float16", lead),
            zeros: Part(kind, (*lead[:-1], cls.stored(lead[-1])) if lead else ()),
        }
        return parts | ({"weight_scale": Part("float32|bfloat16|float16", ())} if cls.twice else {})

    @classmethod
    def stored(cls, codes: int) -> int:
        """Stored items of a row of so many codes."""
        return -(-codes // 8) if cls.bits == 4 else codes

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """The config says dtype and grain, the arrays' shapes must follow."""
        if not quantization or quantization.get("quant_method") != "quark":
            return None
        turned = [name for name in _TURNED if name in stored]
        if turned:
            raise UnsupportedError(f"Beside the weight lies Quark's {turned[0]}: localq does not turn its input.")
        dtype, main = str(quantization.get("dtype")), stored.get("weight")
        if dtype not in ("int4", "uint4", "int8", "uint8") or main is None or len(stored) == 1:
            return None
        group = {"per_tensor": _TENSOR, "per_channel": _ROW}.get(quantization["qscheme"], quantization["group_size"])
        if type(group) is not int or group < _TENSOR:
            raise CheckpointError(f"The config's group_size is {group!r}; a positive number was expected.")
        order = quantization.get("pack_method")
        if order not in ("reorder", "order"):
            raise UnsupportedError(f"Quark's pack_method is {order!r}; localq knows 'reorder' and 'order'.")
        form = cls.of(dtype, group, order == "order" and dtype[-1] == "4", bool(quantization.get("codes_of")))
        return form, form.shape_of(stored)

    @classmethod
    def shape_of(cls, stored: Mapping[str, Part]) -> tuple[int, int]:
        """Logical shape, from the codes and, where outputs may fill no last word, the scales."""
        main, scales = stored["weight"].shape, stored.get(cls.names()[0])
        if len(main) != 2 or scales is None or (cls.group_size > 0 and len(scales.shape) != 2):
            found = ", ".join(f"{name} {part.shape}" for name, part in sorted(stored.items()))
            raise CheckpointError(f"The config says {cls.name}; stored are {found}; expected {', '.join(cls.names())}.")
        if cls.group_size > 0:
            return scales.shape[1], main[0]
        return main[0], main[1] * (8 if cls.bits == 4 else 1)

    @classmethod
    def fields(cls, words: Array) -> NDArray[np.uint8]:
        """Unsigned codes `[..., n]` of stored items `[..., m]`."""
        flip = np.uint8(1 << (int(cls.bits) - 1)) if cls.signed else np.uint8(0)
        if cls.bits == 8:
            return np.asarray(np.ascontiguousarray(words).view(np.uint8) ^ flip)
        if not words.shape:
            return np.asarray((words & 15).astype(np.uint8) ^ flip)
        codes = unpack(np.ascontiguousarray(words).view(np.uint32), 4) ^ flip
        return codes if cls.ordered else codes.reshape(*codes.shape[:-1], -1, 8)[..., _PLACES].reshape(codes.shape)

    @classmethod
    def words(cls, codes: NDArray[np.uint8]) -> Array:
        """The inverse of `fields`; a short last word is filled with zeros."""
        flip = np.uint8(1 << (int(cls.bits) - 1)) if cls.signed else np.uint8(0)
        if cls.bits == 8:
            return np.asarray(np.ascontiguousarray(codes ^ flip).view(np.int8 if cls.signed else np.uint8))
        full = np.concatenate([codes ^ flip, np.zeros((*codes.shape[:-1], -codes.shape[-1] % 8), np.uint8)], axis=-1)
        slots = full if cls.ordered else full.reshape(*full.shape[:-1], -1, 8)[..., _SLOTS].reshape(full.shape)
        return pack(slots, 4).view(np.int32)

    @classmethod
    def read(cls, t: PackedTensor) -> Read:
        scales, zeros, codes = (t.parts[name] for name in cls.names())
        out = t.shape[0]
        if cls.group_size > 0:
            spread = np.ascontiguousarray(scales.T, np.float32)
            points = np.ascontiguousarray(cls.fields(zeros)[:, :out].T, np.float32)
            return Read(np.ascontiguousarray(cls.fields(codes)[:, :out].T), spread, points)
        points = cls.fields(zeros).astype(np.float32)
        wide = [np.broadcast_to(a[:out] if a.shape else a, (out,)) for a in (scales.astype(np.float32), points)]
        return Read(cls.fields(codes), wide[0][:, None], wide[1][:, None])

    @classmethod
    def build(cls, read: Read, like: PackedTensor) -> PackedTensor:
        """The codes packed in this layout; one scale in all becomes one per output."""
        dtype = f"{'' if cls.signed else 'u'}int{int(cls.bits)}"
        form = QuarkInt.of(dtype, max(cls.group_size, _ROW), cls.ordered, cls.twice)
        scales, zeros, codes = form.names()
        points, kind = read.zeros.astype(np.uint8), like.parts[scales].dtype
        shape = (len(read.codes), like.shape[1])
        if form.group_size > 0:
            parts = {codes: form.words(read.codes.T), scales: read.scales.T, zeros: form.words(points.T)}
        else:
            parts = {codes: form.words(read.codes), scales: read.scales[:, 0], zeros: form.words(points[:, 0])}
        parts[scales] = np.ascontiguousarray(parts[scales], kind)
        return PackedTensor(form, shape, parts | ({"weight_scale": like.parts["weight_scale"]} if cls.twice else {}))

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        codes, scales, zeros = cls.read(t)
        values = dequantized(codes, scales, zeros, None, t.shape[1] // scales.shape[1])
        return values * t.parts["weight_scale"].astype(np.float32) if cls.twice else values

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """Packed words, where rows begin on one; else the codes packed anew."""
        run = range(t.shape[0])[index] if isinstance(index, slice) else range(0)
        if cls.group_size > 0 and run and run.step == 1 and (cls.bits == 8 or run.start % 8 == 0):
            scales, zeros, codes = cls.names()
            per = 8 if cls.bits == 4 else 1
            words = slice(run.start // per, -(-run.stop // per))
            parts = {**t.parts, scales: t.parts[scales][:, index]}
            parts |= {name: t.parts[name][:, words] for name in (codes, zeros)}
            return PackedTensor(cls, (count(t.shape[0], index), t.shape[1]), parts)
        codes_, spread, points = cls.read(t)
        return cls.build(Read(codes_[index], spread[index], points[index]), t)

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """One under the other; None where scales of whole tensors differ that stand beside others."""
        if cls.twice and len({t.parts["weight_scale"].tobytes() for t in tensors}) > 1:
            return None
        reads = [cls.read(t) for t in tensors]
        return cls.build(Read(*(np.concatenate(arrays) for arrays in zip(*reads, strict=True))), tensors[0])

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return bool(affine_group(cls.group_size if cls.group_size > 0 else t.shape[1], t.shape[1]))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine; a scale per row or tensor multiplies the output, which keeps scales and biases whole numbers."""
        if not cls.has_native(t):
            return None
        codes, scales, zeros = cls.read(t)
        words, bits = pack(codes, int(cls.bits)), int(cls.bits)
        second = t.parts["weight_scale"].astype(np.float32) if cls.twice else None
        if cls.group_size > 0:
            held = affine(words, bits, cls.group_size, scales, zeros)
            return held if held is None or second is None else replace(held, multiplier=second)
        size = affine_group(t.shape[1], t.shape[1])
        ones = np.ones((len(codes), t.shape[1] // size), np.float16)
        biases = np.ascontiguousarray(np.broadcast_to(-zeros, ones.shape), np.float16)
        by = scales[:, 0] if second is None else scales[:, 0] * second
        held = Native("affine", bits, size, words, ones, biases, multiplier=np.ascontiguousarray(by))
        return held if second is None else replace(held, exactness="rounded", error=((1 << bits) - 1) * 2.0**-23)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        parts: dict[str, Array] = {}
        for name, part in layout.items():
            if "int" in part.dtype:
                info = np.iinfo(part.dtype)
                parts[name] = rng.integers(info.min, info.max, part.shape, np.int64, endpoint=True).astype(part.dtype)
            else:
                parts[name] = np.asarray(rng.uniform(0.5, 1.5, part.shape) / (1 << int(cls.bits)), np.float32)
        return PackedTensor(cls, shape, parts)
