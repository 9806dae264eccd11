"""bitnet and bitnet_inverse: transformers' BitNet; weight = (code - 1) * weight_scale, or divided by it.

`weight` uint8 `[out / 4, in]`: bits 2i and 2i + 1 of row r are row r + i * out / 4, code 0, 1 or 2. `weight_scale`
`[1]`. The config's linear_class alone says which way the scale goes: "autobitlinear" multiplies, "bitlinear" divides;
nothing in the arrays could contradict it. The original rounds activations to int8 per token before the product; localq
computes with float activations, so its logits are those of the same weights without that rounding.
Source: transformers/integrations/bitnet.py (`unpack_weights`, `BitLinear`, `AutoBitLinear`), 5.23.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part
from localq.formats.bits import pack
from localq.formats.integers import affine_group
from localq.formats.reselect import floats, numbers


class Ternary(Format):
    """Both directions of the scale."""

    divides: ClassVar[bool] = False

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) != 2 or shape[0] % 4 or 0 in shape:
            raise CheckpointError(f"A matrix of shape {shape} has no multiple of 4 rows, as {cls.name} packs them.")
        return {
            "weight": Part("uint8", (shape[0] // 4, shape[1])),
            "weight_scale": Part("float16|bfloat16|float32", (1,)),
        }

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """uint8 `weight` with a `weight_scale` of one number, and the config's word for the direction, `divides`."""
        if (
            not quantization
            or quantization.get("quant_method") != "bitnet"
            or set(stored) != {"weight", "weight_scale"}
        ):
            return None
        weight = stored["weight"]
        if weight.dtype != "uint8" or quantization["divides"] is not cls.divides:
            return None
        if quantization["online"]:
            raise CheckpointError(
                "The config's quantization_mode is 'online', which is of float weights; these are packed."
            )
        if len(weight.shape) != 2:
            raise CheckpointError(f"A BitNet weight is {weight.dtype} {weight.shape}; expected uint8 [out / 4, in].")
        return cls, (weight.shape[0] * 4, weight.shape[1])

    @classmethod
    def check_scales(cls, t: PackedTensor) -> None:
        super().check_scales(t)
        weight = t.parts["weight"]
        if np.any(weight & (weight >> 1) & 0x55):
            raise CheckpointError(f"A {cls.name} tensor of shape {t.shape} holds the code 3; 0, 1 and 2 were expected.")

    @classmethod
    def step(cls, t: PackedTensor) -> np.float32:
        """The magnitude of the weights."""
        scale = np.float32(t.parts["weight_scale"].reshape(-1)[0])
        return np.float32(1) / scale if cls.divides else scale

    @classmethod
    def codes(cls, t: PackedTensor, at: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Codes 0 to 2 of rows `at`."""
        stored, quarter = t.parts["weight"], t.shape[0] // 4
        shift = (2 * (at // quarter)).astype(np.uint8)[:, None]
        found: NDArray[np.uint8] = stored[at % quarter] >> shift & np.uint8(3)
        return found

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        out = cls.codes(t, np.arange(t.shape[0])).astype(np.float32)
        out -= 1
        out *= cls.step(t)
        return out

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """MLX's 2-bit affine of these rows, which has the same values; decoded where a row is no multiple of 32."""
        codes = cls.codes(t, numbers(index, t.shape[0]))
        return _affine(codes, np.full(len(codes), cls.step(t), np.float32))

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        codes = np.concatenate([cls.codes(t, np.arange(t.shape[0])) for t in tensors])
        steps = np.concatenate([np.full(t.shape[0], cls.step(t), np.float32) for t in tensors])
        return _affine(codes, steps)

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return len(t.shape) == 2 and t.shape[1] % 32 == 0

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine of 2 bits with unit scales; the step multiplies the output."""
        return cls.native_rows(t, slice(0, t.shape[0]))

    @classmethod
    def native_rows(cls, t: PackedTensor, rows: slice) -> Native | None:
        group = affine_group(t.shape[1], t.shape[1])
        if not group:
            return None
        shape = (rows.stop - rows.start, t.shape[1] // group)
        words = pack(cls.codes(t, np.arange(rows.start, rows.stop)), 2)
        ones = np.ones(shape, np.float16)
        return Native("affine", 2, group, words, ones, -ones, multiplier=np.asarray(cls.step(t), np.float32))

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)["weight"].shape
        codes = rng.integers(0, 3, (4, *layout), np.uint8)
        weight = codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6
        return PackedTensor(cls, shape, {"weight": weight, "weight_scale": np.array([0.75], np.float32)})


_FACTS: dict[str, Any] = {
    **{"family": "bitnet", "bits": 2, "group_size": 0, "bits_per_weight": 2, "scale": "16-bit float per matrix"},
    **{"containers": ("safetensors",), "suffixes": ("weight", "weight_scale"), "scale_parts": ("weight_scale",)},
    **{"same_size": True},
}


class BitNet(Ternary, name="bitnet", checked="transformers", **_FACTS):
    divides = False


class BitNetInverse(Ternary, name="bitnet_inverse", checked="transformers", **_FACTS):
    divides = True


def _affine(codes: NDArray[np.uint8], steps: NDArray[np.float32]) -> PackedTensor:
    from localq.formats import FORMATS

    group = affine_group(codes.shape[1], codes.shape[1])
    if not group:
        return floats((codes.astype(np.float32) - 1) * steps[:, None])
    scales = np.repeat(steps[:, None], codes.shape[1] // group, axis=1)
    parts = {"weight": pack(codes, 2), "scales": scales, "biases": -scales}
    return PackedTensor(FORMATS[f"affine_2bit_g{group}"], codes.shape, parts)
