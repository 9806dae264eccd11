"""Tensors of formats other than ggml's as the arrays that their decode structs read; what every function returns is
None where the struct has no place for the tensor: groups that cut through 16 weights, sub-groups of other lengths.

Codes are packed anew where a file's order is no row's (columns, tiles, planes): exactly, and in as many bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from localq.formats.awq_family import AWQFamily
from localq.formats.base import PackedTensor
from localq.formats.bits import pack
from localq.formats.bnb_4bit import BNB4Bit, read_state, stored_bytes
from localq.formats.ct_int8 import CTInt8
from localq.formats.ct_packed import CTPacked
from localq.formats.fp8 import FP8
from localq.formats.fp8_inverse import FP8Inverse
from localq.formats.gptq import GPTQ
from localq.formats.hqq import HQQ
from localq.formats.modelopt_int4 import ModelOptInt4
from localq.kernels.inputs import Inputs, Rotation

Array = NDArray[Any]
Codes = NDArray[np.uint8]
_NAMES = {
    **{"float16": "half", "bfloat16": "bfloat16_t", "float32": "float"},
    **{"uint8": "uint8_t", "uint16": "ushort", "int8": "int8_t"},
}
_ALL = 1 << 30  # rows or columns that share a scale: all


def stream(codes: Codes, bits: int) -> NDArray[np.uint16]:
    """Codes, rows one after another, as a little-endian stream of `bits` (1 to 8) each: whole uint16 in all."""
    flat = codes.reshape(-1)
    padded = np.concatenate([flat, np.zeros(-len(flat) % 32, np.uint8)]) if len(flat) % 32 else flat
    return pack(padded, bits).view(np.uint16)[: len(flat) * bits // 16]


def kind(a: Array) -> str:
    """The name of an array's dtype in a kernel."""
    return _NAMES[a.dtype.name]


def integer_codes(
    words: Array, numbers: tuple[int, int, int], scales: Array, zeros: Array, order: Array | None = None
) -> Inputs | None:
    """(code - zero) * scale of a stream of codes; `numbers`: bits, weights of a scale, weights of a row.

    Scales and zeros are `[out, groups]`, zeros whole numbers below 256 (uint8) or floats.
    """
    bits, group, width = numbers
    if group % 16 and group < width:
        return None
    same = zeros.dtype == np.uint8 and zeros.size > 0 and bool((zeros == zeros.flat[0]).all())
    constants: dict[str, int | str] = {"BITS": bits, "GROUP": group, "ZERO": int(zeros.flat[0]) if same else 256}
    constants |= {"S": kind(scales), "Z": kind(zeros)}
    arrays = {"w": words, "scales": scales, "zeros": zeros[:0] if same else zeros}
    return Inputs("integers", arrays, constants, rotated=None if order is None else Rotation(order=order))


def by_group(order: Array | None, width: int, group: int) -> tuple[Array | None, bool]:
    """The order of inputs that puts groups together, None where they are; whether their lengths are the format's."""
    if order is None or np.array_equal(order, np.arange(width) // group):
        return None, True
    full, rest = divmod(width, group)
    lengths = [group] * full + [rest] * bool(rest)
    return np.argsort(order, kind="stable").astype(np.int32), bool(
        np.array_equal(np.bincount(order, minlength=len(lengths)), lengths)
    )


def integers(t: PackedTensor) -> Inputs | None:
    """GPTQ, AWQ, compressed-tensors, HQQ, ModelOpt and torchao: what has codes, scales and zero points."""
    form: Any = t.format
    for family, read in _INTEGERS.items():
        if issubclass(form, family):
            return read(form, t)
    if "_weight_qdata" in t.parts:
        return _torchao(t)
    return None


def _gptq(form: Any, t: PackedTensor) -> Inputs | None:
    group = form.group(t.shape[-1])
    order, even = by_group(t.parts.get("g_idx"), t.shape[-1], group)
    if not even:
        return None
    bits, plain = int(form.bits), form.kind != "_p" or form.bits in (2, 4, 8)
    if order is None and plain:  # columns of the very stream
        words = np.ascontiguousarray(t.parts["qweight"].T).view(np.uint16)
    else:
        words = stream(form.codes(t) if order is None else form.codes(t)[:, order], bits)
    scales, zeros = (np.ascontiguousarray(a.T) for a in (t.parts["scales"], form.zeros(t)))
    return integer_codes(words, (bits, group, t.shape[-1]), scales, zeros, order)


def _ct_packed(form: Any, t: PackedTensor) -> Inputs | None:
    group = form.group(t.shape[-1])
    order, even = by_group(t.parts.get("weight_g_idx"), t.shape[-1], group)
    if not even:
        return None
    bits, width = int(form.bits), t.shape[-1]
    if order is None and form.dense and width * bits % 32 == 0:
        words = np.ascontiguousarray(t.parts["weight_packed"]).view(np.uint16)
    else:
        words = stream(form.codes(t) if order is None else form.codes(t)[:, order], bits)
    return integer_codes(words, (bits, group, width), t.parts["weight_scale"], form.zeros(t), order)


def _ct_bytes(form: Any, t: PackedTensor) -> Inputs | None:
    scales = np.broadcast_to(t.parts["weight_scale"], form.wide(t, "weight_scale").shape)
    zeros = (form.wide(t, "weight_zero_point") + np.float32(128)).astype(np.uint8)
    width = t.shape[-1]
    return integer_codes(stream(form.codes(t), 8), (8, form.group(width), width), scales, zeros)


def _awq(form: Any, t: PackedTensor) -> Inputs | None:
    codes, scales, zeros = form.read(t)
    stored = t.parts["scales"].dtype
    bits, width = int(form.bits), t.shape[-1]
    numbers = (bits, form.group(width), width)
    return integer_codes(stream(codes, bits), numbers, scales.astype(stored), zeros.astype(np.uint8))


def _modelopt(form: Any, t: PackedTensor) -> Inputs | None:
    scales = t.parts["weight_scale"]
    numbers = (4, form.group_size, t.shape[-1])
    found = integer_codes(stream(form.codes(t), 4), numbers, scales, np.full(scales.shape, 8, np.uint8))
    before = t.parts.get("pre_quant_scale")
    if found is None or before is None:
        return found
    rotation = Rotation(before=before.astype(np.float32))
    return Inputs(found.stem, found.arrays, found.constants, rotated=rotation)


def _torchao(t: PackedTensor) -> Inputs | None:
    scale, data = t.parts["_weight_scale"], t.parts["_weight_qdata"]
    zero = t.parts.get("_weight_zero_point", np.zeros(scale.shape, np.int8)).astype(np.int64) + 128
    if zero.min(initial=0) < 0 or zero.max(initial=0) > 255:
        return None
    groups = (t.shape[0], scale.shape[1])
    spread = [np.broadcast_to(a, groups) for a in (scale, zero.astype(np.uint8))]
    words = stream(data.view(np.uint8) ^ np.uint8(0x80), 8)
    return integer_codes(words, (8, t.shape[1] // groups[1], t.shape[1]), spread[0], spread[1])


def _hqq(form: Any, t: PackedTensor) -> Inputs | None:
    out, width = t.shape
    scale, zero, bits = t.parts["scale"], t.parts["zero"], int(form.bits)
    codes = form.codes(t).reshape(t.shape)
    if form.axis:
        groups = (out, width // form.group_size)
        if width % form.group_size:
            return None
        numbers = (bits, form.group_size, width)
        return integer_codes(stream(codes, bits), numbers, scale.reshape(groups), zero.reshape(groups))
    if scale.dtype != zero.dtype or scale.size % 16:
        return None
    arrays = {"w": stream(codes, bits), "scales": scale.reshape(-1), "zeros": zero.reshape(-1)}
    return Inputs("columns", arrays, {"BITS": bits, "STEP": scale.size, "S": kind(scale)})


_INTEGERS: dict[type, Callable[[Any, PackedTensor], Inputs | None]] = {
    **{GPTQ: _gptq, CTPacked: _ct_packed, CTInt8: _ct_bytes, AWQFamily: _awq, ModelOptInt4: _modelopt, HQQ: _hqq},
}


def fp8(t: PackedTensor) -> Inputs | None:
    """8-bit floats of compressed-tensors, DeepSeek, ModelOpt, Quanto, torchao and gptqmodel, whose scales divide."""
    form: Any = t.format
    if issubclass(form, FP8Inverse):
        codes, scales = t.parts["weight"], t.parts["weight_scale_inv"]
        rows, columns = (form.block[0] or _ALL, form.block[1] or _ALL)
    elif issubclass(form, FP8):
        codes, scales, block = t.parts["weight"], t.parts[form.part], int(form.group_size)
        rows, columns = {
            **{"tensor": (_ALL, _ALL), "channel": (1, _ALL), "halves": (max(t.shape[-2] // 2, 1), _ALL)},
            **{"block": (block, block), "group": (1, block)},
        }[form.grain]
    else:
        codes = next(t.parts[n] for n in ("weight._data", "_weight_qdata") if n in t.parts)
        scales = next(t.parts[n] for n in ("weight._scale", "_weight_scale") if n in t.parts)
        rows = 1 if len(scales) == t.shape[0] else _ALL
        columns = t.shape[1] // scales.shape[1]
    if columns % 16:
        return None
    if scales.dtype.name in ("uint8", "float8_e8m0fnu"):
        scales = scales.view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    e5m2 = int(codes.dtype == ml_dtypes.float8_e5m2)
    packed = np.ascontiguousarray(codes).view(np.uint8).reshape(-1).view(np.uint32)
    constants: dict[str, int | str] = {"E5M2": e5m2, "ROWS": rows, "COLUMNS": columns}
    constants |= {"INVERSE": int(issubclass(form, FP8Inverse)), "S": kind(scales)}
    return Inputs("fp8", {"w": packed, "scales": scales}, constants)


def bnb_4bit(t: PackedTensor) -> Inputs | None:
    """bitsandbytes' code tables; scales quantised again stay so."""
    form: type[BNB4Bit] = t.format  # type: ignore[assignment]
    if form.group_size % 16:
        return None
    packed = {"w": stored_bytes(t).view(np.uint32), "values": t.parts["weight.quant_map"]}
    if not form.double:
        return Inputs("bnb_4bit", {**packed, "absmax": t.parts["weight.absmax"]}, {"GROUP": form.group_size})
    state = read_state(t.parts[f"weight.quant_state.bitsandbytes__{form.table}"], form.table, nested=True)
    arrays = {
        **packed,
        "absmax": t.parts["weight.absmax"],
        "scales": t.parts["weight.nested_quant_map"],
        "nested": t.parts["weight.nested_absmax"],
        "offset": np.array([state["nested_offset"]], np.float32),
    }
    return Inputs("bnb_4bit_double", arrays, {"GROUP": form.group_size})


def mxfp6(t: PackedTensor) -> Inputs | None:
    """The stored arrays as they are."""
    form: Any = t.format
    packed = np.ascontiguousarray(t.parts["weight"]).reshape(-1).view(np.uint32)
    exponent = {"e3m2": 3, "e2m3": 2}[form.code]
    return Inputs("mxfp6", {"w": packed, "scales": t.parts["weight_scale"]}, {"EXPONENT": exponent})
