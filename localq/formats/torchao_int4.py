"""torchao_int4_g<group>: torchao's Int4Tensor in safetensors; weight = (q * scale + zero_point) * act_pre_scale.

`_weight_qdata` int8 `[out, in / 2]`, the even input in the low nibble, in two's complement; `_weight_scale` and
`_weight_zero_point` `[in / group, out]`, floats both: the zero point is a weight, not a code. AWQ and SmoothQuant leave
an `_weight_act_pre_scale` `[in]`, by which the input is multiplied.
Sources: torchao/quantization/quantize_/workflows/int4/int4_tensor.py, 0.18; mslk/quantize/shuffle.py (`pack_int4`,
`int4_row_quantize_zp`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, Floats, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part, count
from localq.formats.integers import affine_group, narrowest, native_bits
from localq.formats.torchao_bytes import read_header

_NAME = re.compile(r"torchao_int4_g(\d{1,6})")
_CODES, _SCALE, _ZERO, _INPUTS = "_weight_qdata", "_weight_scale", "_weight_zero_point", "_weight_act_pre_scale"
_FLOATS = "bfloat16|float16|float32"


class TorchAOInt4(
    Format,
    name="torchao_int4",
    checked="torchao",
    family="torchao",
    bits=4,
    group_size=128,
    bits_per_weight=4.25,
    symmetric=False,
    scale="16-bit float scale and zero point per group",
    containers=("safetensors",),
    mains=(_CODES,),
    suffixes=(_CODES, _SCALE, _ZERO, _INPUTS),
    scale_parts=(_SCALE, _ZERO, _INPUTS),
    zero_scales=True,
):
    @classmethod
    def of(cls, group: int) -> type[TorchAOInt4]:
        """The variant of this group."""
        stored = 4 + 32 / group
        same = native_bits(4, group, True) <= 1.1 * stored
        return TorchAOInt4.variant(
            f"torchao_int4_g{group}", group_size=group, block_size=group, bits_per_weight=stored, same_size=same
        )

    @classmethod
    def find(cls, name: str) -> type[TorchAOInt4] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(int(found[1]))

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return (cls.of(128),)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) != 2 or shape[1] % cls.group_size or shape[1] % 2:
            raise CheckpointError(
                f"A {cls.name} tensor has rows of {shape[-1:]}; a matrix of rows of whole groups of {cls.block_size} "
                "was expected."
            )
        groups = (shape[1] // cls.group_size, shape[0])
        return {
            _CODES: Part("int8", (shape[0], shape[1] // 2)),
            _SCALE: Part(_FLOATS, groups),
            _ZERO: Part(_FLOATS, groups),
        }

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {_INPUTS: Part(_FLOATS, shape[-1:])}

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if _CODES not in stored:
            return None
        said = read_header((quantization or {}).get("torchao_tensor"), stored)
        if said["_type"] != "Int4Tensor":
            return None
        codes, blocks = stored[_CODES], said.get("block_size")
        if len(codes.shape) != 2:
            raise UnsupportedError(f"torchao's Int4Tensor is a stack {codes.shape}; localq reads matrices.")
        if (
            not isinstance(blocks, list)
            or len(blocks) != 2
            or blocks[0] != 1
            or type(blocks[1]) is not int
            or blocks[1] < 2
        ):
            raise CheckpointError(f"The header says block_size {str(blocks)[:40]}; [1, group] was expected.")
        return cls.of(blocks[1]), (codes.shape[0], 2 * codes.shape[1])

    @classmethod
    def codes(cls, t: PackedTensor) -> NDArray[np.uint8]:
        """The stored bytes, code + 8 in each nibble."""
        return np.asarray(np.ascontiguousarray(t.parts[_CODES]).view(np.uint8) ^ np.uint8(0x88))

    @classmethod
    def floats(cls, t: PackedTensor) -> tuple[Floats, Floats]:
        """Scales and zero points `[out, groups]`."""
        return np.ascontiguousarray(t.parts[_SCALE].T, np.float32), np.ascontiguousarray(t.parts[_ZERO].T, np.float32)

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        packed, (scales, zeros) = cls.codes(t), cls.floats(t)
        values = np.empty(t.shape, np.float32)
        values[:, 0::2], values[:, 1::2] = packed & np.uint8(15), packed >> np.uint8(4)
        values -= 8
        groups = values.reshape(len(values), -1, cls.group_size)
        groups *= scales[:, :, None]
        groups += zeros[:, :, None]
        if _INPUTS in t.parts:
            values *= t.parts[_INPUTS].astype(np.float32)
        return values

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return bool(affine_group(cls.group_size, t.shape[1]))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine with bias = zero point - 8 * scale: exact where float32 holds all of its digits."""
        size = affine_group(cls.group_size, t.shape[1])
        if not size:
            return None
        scales, zeros = cls.floats(t)
        right = zeros.astype(np.float64) - 8 * scales.astype(np.float64)
        biases = right.astype(np.float32)
        with np.errstate(all="ignore"):
            error = float(np.nan_to_num(np.abs(biases - right) / np.abs(scales)).max(initial=0))
        spread = [np.repeat(a, cls.group_size // size, axis=-1) for a in narrowest(scales, biases)]
        before = t.parts.get(_INPUTS)
        return Native(
            "affine",
            4,
            size,
            cls.codes(t).view(np.uint32),
            spread[0],
            spread[1],
            exactness="rounded" if error else "exact",
            error=error,
            input_scale=None if before is None else before.astype(np.float32),
        )

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        parts = {**t.parts, _CODES: t.parts[_CODES][index]}
        parts |= {name: t.parts[name][:, index] for name in (_SCALE, _ZERO)}
        return PackedTensor(cls, (count(t.shape[0], index), t.shape[1]), parts)

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """One under the other where the inputs are scaled alike."""
        if len({t.parts[_INPUTS].tobytes() if _INPUTS in t.parts else b"" for t in tensors}) > 1:
            return None
        parts = {n: np.concatenate([t.parts[n] for t in tensors], axis=1) for n in (_SCALE, _ZERO)}
        parts = {**tensors[0].parts, **parts, _CODES: np.concatenate([t.parts[_CODES] for t in tensors])}
        return PackedTensor(cls, (sum(t.shape[0] for t in tensors), tensors[0].shape[1]), parts)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        scales = (rng.integers(64, 128, layout[_SCALE].shape) / 4096).astype(np.float16)
        zeros = (rng.integers(-64, 64, layout[_ZERO].shape) / 1024).astype(np.float16)
        codes = rng.integers(-128, 128, layout[_CODES].shape, np.int8)
        return PackedTensor(cls, shape, {_CODES: codes, _SCALE: scales, _ZERO: zeros})
