"""nvfp4_modelopt: ModelOpt's NVFP4; weight = E2M1 * (weight_scale * weight_scale_2): it multiplies.

`weight` uint8 `[..., out, in / 2]`, the even input in the low nibble; `weight_scale` E4M3 `[..., out, in / 16]`;
`weight_scale_2` float32 `()`. NVFP4_AWQ leaves a `pre_quant_scale` `[in]` where no layer before could take it:
y = W (x * pre_quant_scale). MLX's nvfp4 holds codes and scales; the output is multiplied by the second scale.
Source: modelopt/torch/quantization/qtensor/nvfp4_tensor.py (NVFP4, W4A16_NVFP4, NVFP4_AWQ); AMD Quark writes the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import Match, Native, PackedTensor, Part
from localq.formats.micro_floats import MicroFloat
from localq.formats.nvfp4 import NVFP4

_INPUTS = "pre_quant_scale"


class NVFP4ModelOpt(
    MicroFloat,
    name="nvfp4_modelopt",
    checked="modelopt, amd-quark",
    family="modelopt",
    bits=4,
    group_size=16,
    bits_per_weight=4.5,
    scale="E4M3 per 16 x float32 per matrix",
    suffixes=("weight", "weight_scale", "weight_scale_2", _INPUTS),
):
    twin = NVFP4
    codes_part = "weight"
    scales_dtype = "float8_e4m3fn"
    whole_part = "weight_scale_2"
    whole_shape = ()

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """No method has other arrays of these names and dtypes."""
        shape = cls.shape_of({name: part for name, part in stored.items() if name != _INPUTS})
        return None if shape is None else (cls, shape)

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {_INPUTS: Part("float32|float16|bfloat16", shape[-1:])} if len(shape) == 2 else {}

    @classmethod
    def scales(cls, t: PackedTensor) -> dict[str, Array]:
        return super().scales(t) | ({_INPUTS: t.parts[_INPUTS]} if _INPUTS in t.parts else {})

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        values = super().dequantize(t)
        if _INPUTS in t.parts:
            values *= t.parts[_INPUTS].astype(np.float32)
        return values

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        native = super().to_native(t)
        if native is None or _INPUTS not in t.parts:
            return native
        return replace(native, input_scale=t.parts[_INPUTS].astype(np.float32))

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        return _with(super().select_rows(_without(t), index), t)

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """One under the other where the second scale and what the inputs are multiplied by are the same."""
        if len({t.parts[_INPUTS].tobytes() if _INPUTS in t.parts else b"" for t in tensors}) > 1:
            return None
        joined = super().join_rows([_without(t) for t in tensors])
        return None if joined is None else _with(joined, tensors[0])

    @classmethod
    def whole(cls, t: PackedTensor, scales: NDArray[np.float32]) -> NDArray[np.float32]:
        second = t.parts[cls.whole_part]
        multiplied: NDArray[np.float32] = scales * second.reshape(*second.shape, *(1,) * (scales.ndim - second.ndim))
        return multiplied

    @classmethod
    def multiplier(cls, t: PackedTensor) -> NDArray[np.float32]:
        return np.asarray(t.parts[cls.whole_part], np.float32)


def _without(t: PackedTensor) -> PackedTensor:
    """The matrix without what its inputs are multiplied by."""
    return PackedTensor(t.format, t.shape, {name: part for name, part in t.parts.items() if name != _INPUTS})


def _with(t: PackedTensor, source: PackedTensor) -> PackedTensor:
    """`t` with the `pre_quant_scale` of `source`, if that has one."""
    kept = {name: part for name, part in source.parts.items() if name == _INPUTS}
    return PackedTensor(t.format, t.shape, {**t.parts, **kept})
