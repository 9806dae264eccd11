"""ct_bytes_<grain>: compressed-tensors' integers of one byte each; weight = (q - zero_point) * scale.

`weight` int8 `[out, in]`: 8-bit codes (int-quantized, W8A8) or narrower ones that are kept in bytes (W4AFP8,
`_int4`); `weight_scale` `[1]` (tensor), `[out, 1]` (channel) or `[out, groups]`; `weight_zero_point` int8 like the
scales where they are asymmetric (`_asym`); older versions store zeros for symmetric ones. What the checkpoint says of
activations (dynamic or static int8, FP8) is not applied: localq multiplies in floating point.
Source: compressed_tensors/compressors/naive_quantized, int_quantized; quantization/lifecycle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part, count
from localq.formats.bits import pack
from localq.formats.integers import affine, affine_group, dequantized, one_of

_NAME = re.compile(r"ct_bytes_(?:g(\d{1,6})|(channel|tensor))(?:_int([2-7]))?(_asym)?")
BITS = (2, 3, 4, 5, 6, 7, 8)
_FLOATS = "float16|bfloat16|float32"
_TENSOR = -1  # group size that stands for one scale in all


class CTInt8(
    Format,
    name="ct_bytes",
    checked="compressed-tensors",
    kernel="integers",
    family="compressed-tensors",
    bits=8,
    group_size=0,
    bits_per_weight=8.004,
    scale="16-bit float per group, output or tensor",
    containers=("safetensors",),
    mains=("weight",),
    suffixes=("weight", "weight_scale", "weight_zero_point"),
    scale_parts=("weight_scale",),
):
    @classmethod
    def of(cls, group: int, bits: int = 8, symmetric: bool = True) -> type[CTInt8]:
        """The variant of this group (0: the whole row, -1: the whole tensor) and of codes this wide."""
        name = {0: "channel", _TENSOR: "tensor"}.get(group, f"g{group}")
        return CTInt8.variant(
            f"ct_bytes_{name}" + (f"_int{bits}" if bits < 8 else "") + ("" if symmetric else "_asym"),
            bits=bits,
            symmetric=symmetric,
            group_size=group,
            bits_per_weight=8 + 16 / (group if group > 0 else 4096),
            same_size=group <= 0 or group >= 64,
        )

    @classmethod
    def find(cls, name: str) -> type[CTInt8] | None:
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        group = int(found[1]) if found[1] else 0 if found[2] == "channel" else _TENSOR
        return cls.of(group, int(found[3] or 8), found[4] is None)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(0), cls.of(128), cls.of(_TENSOR)

    @classmethod
    def group(cls, width: int) -> int:
        """Weights of a row that share a scale."""
        return min(cls.group_size, width) if cls.group_size > 0 else width

    @classmethod
    def scale_shape(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Stored shape of scales and zero points."""
        return (1,) if cls.group_size == _TENSOR else (shape[0], -(-shape[1] // cls.group(shape[1])))

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) != 2:
            raise CheckpointError(f"A {cls.name} tensor has shape {shape}; a matrix was expected.")
        parts = {"weight": Part("int8", shape), "weight_scale": Part(_FLOATS, cls.scale_shape(shape))}
        return parts if cls.symmetric else {**parts, "weight_zero_point": Part("int8", cls.scale_shape(shape))}

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {"weight_zero_point": Part("int8", cls.scale_shape(shape))}

    @classmethod
    def check_scales(cls, t: PackedTensor) -> None:
        """Also that codes are as narrow, and zero points as absent, as the config says."""
        super().check_scales(t)
        limit, zeros = 1 << (int(cls.bits) - 1), t.parts.get("weight_zero_point")
        if cls.symmetric and zeros is not None and zeros.any():
            raise CheckpointError("The config says symmetric: true, and weight_zero_point holds others than zeros.")
        codes = t.parts["weight"]
        if limit < 128 and codes.size and not -limit <= codes.min() <= codes.max() < limit:
            raise CheckpointError(
                f"The config says codes of {int(cls.bits)} bits, {-limit} to {limit - 1}; those stored go from "
                f"{codes.min()} to {codes.max()}."
            )

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """int8 codes beside `weight_scale`, in a checkpoint of compressed-tensors."""
        main, scale = stored.get("weight"), stored.get("weight_scale")
        if main is None or scale is None or main.dtype != "int8" or len(main.shape) != 2:
            return None
        if not quantization or quantization.get("quant_method") != "compressed-tensors":
            return None
        out, width = main.shape
        group = quantization.get("group_size")
        sizes = [_TENSOR, 0] + ([group] if isinstance(group, int) and group > 0 else [])
        bits = one_of(quantization, "num_bits", BITS)
        for size in sizes:
            form = CTInt8.of(size, bits, quantization.get("symmetric") is not False)
            if form.scale_shape((out, width)) == scale.shape:
                return form, (out, width)
        raise CheckpointError(
            f"A matrix of int8 {main.shape} has weight_scale {scale.shape}; expected (1,), ({out}, 1) or one per "
            f"group of the config's {group}."
        )

    @classmethod
    def wide(cls, t: PackedTensor, name: str) -> NDArray[np.float32]:
        """Scales or zero points as float32 `[out, groups]`; zeros where there are no zero points."""
        groups = 1 if cls.group_size <= 0 else -(-t.shape[1] // cls.group(t.shape[1]))
        if name not in t.parts:
            return np.zeros((t.shape[0], groups), np.float32)
        found: NDArray[np.float32] = t.parts[name].astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(found, (t.shape[0], groups)))

    @classmethod
    def codes(cls, t: PackedTensor) -> NDArray[np.uint8]:
        """Codes + 128."""
        return np.ascontiguousarray(t.parts["weight"]).view(np.uint8) ^ np.uint8(0x80)

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        zeros = cls.wide(t, "weight_zero_point") + np.float32(128)
        return dequantized(cls.codes(t), cls.wide(t, "weight_scale"), zeros, None, cls.group(t.shape[1]))

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return bool(affine_group(cls.group(t.shape[1]), t.shape[1]))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """8-bit affine; the scale of a row or tensor is repeated."""
        if not cls.has_native(t):
            return None
        zeros = cls.wide(t, "weight_zero_point") + np.float32(128)
        return affine(pack(cls.codes(t), 8), 8, cls.group(t.shape[1]), cls.wide(t, "weight_scale"), zeros)

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        parts = {n: p if p.ndim == 1 else p[index] for n, p in t.parts.items()}
        return PackedTensor(t.format, (count(t.shape[0], index), t.shape[1]), parts)

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """One under the other; one scale in all becomes one per output."""
        form = CTInt8.of(max(cls.group_size, 0), int(cls.bits), cls.symmetric)
        parts: dict[str, Array] = {"weight": np.concatenate([t.parts["weight"] for t in tensors])}
        parts["weight_scale"] = np.concatenate([cls.wide(t, "weight_scale") for t in tensors])
        if any("weight_zero_point" in t.parts for t in tensors):
            zeros = np.concatenate([cls.wide(t, "weight_zero_point") for t in tensors])
            parts["weight_zero_point"] = zeros.astype(np.int8)
        return PackedTensor(form, (sum(t.shape[0] for t in tensors), tensors[0].shape[1]), parts)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        limit, lead = 1 << (int(cls.bits) - 1), cls.scale_shape(shape)
        parts: dict[str, Array] = {"weight": rng.integers(-limit, limit, shape, np.int8)}
        parts["weight_scale"] = (rng.uniform(0.5, 1.5, lead) / limit).astype(np.float16)
        if not cls.symmetric:
            parts["weight_zero_point"] = rng.integers(-limit, limit, lead, np.int8)
        return PackedTensor(cls, shape, parts)
