"""modelopt_int4_g<group>: ModelOpt's 4-bit integers (INT4_AWQ, W4A16_AWQ); weight = q * scale * pre_quant_scale.

`weight` uint8 `[out / 2, in]`: output 2r in the low nibble of row r, 2r + 1 in the high one, in two's complement;
`weight_scale` `[out, in / group]`; AWQ leaves a `pre_quant_scale` `[in]` where no layer before could take it:
y = W (x * pre_quant_scale). Source: modelopt/torch/export/quant_utils.py `pack_int4_in_uint8`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part, count
from localq.formats.bits import pack
from localq.formats.ct_int8 import CTInt8
from localq.formats.integers import affine, affine_group, dequantized

_NAME = re.compile(r"modelopt_int4_g(\d{1,6})")
_GROUP = 128  # of ModelOpt's INT4_AWQ_CFG and INT4_BLOCKWISE_WEIGHT_ONLY_CFG; config.json does not say it
_FLOATS = "float32|float16|bfloat16"


class ModelOptInt4(
    Format,
    name="modelopt_int4",
    checked="modelopt",
    kernel="integers",
    family="modelopt",
    bits=4,
    group_size=128,
    bits_per_weight=4.25,
    scale="float per group",
    containers=("safetensors",),
    mains=("weight",),
    suffixes=("weight", "weight_scale", "pre_quant_scale"),
    scale_parts=("weight_scale", "pre_quant_scale"),  # never zero: ModelOpt writes positive ones for zeros too
    row_multiple=2,
):
    @classmethod
    def of(cls, group: int) -> type[ModelOptInt4]:
        """The variant of this group."""
        stored = 4 + 32 / group
        return cls.variant(f"modelopt_int4_g{group}", group_size=group, bits_per_weight=stored, same_size=group >= 64)

    @classmethod
    def find(cls, name: str) -> type[ModelOptInt4] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(int(found[1]))

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return (cls.of(128),)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) != 2 or shape[0] % 2 or shape[1] % cls.group_size:
            raise CheckpointError(
                f"A {cls.name} tensor has shape {shape}; an even number of rows of whole groups was expected."
            )
        out, width = shape
        return {
            "weight": Part("uint8", (out // 2, width)),
            "weight_scale": Part(_FLOATS, (out, width // cls.group_size)),
        }

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {"pre_quant_scale": Part(_FLOATS, (shape[-1],))}

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """Two outputs a byte: half as many rows as the scales have."""
        main, scale = stored.get("weight"), stored.get("weight_scale")
        if not quantization or quantization.get("quant_method") != "modelopt" or main is None or scale is None:
            return None
        if main.dtype != "uint8" or scale.dtype not in _FLOATS.split("|") or len(main.shape) != 2:
            return None
        out, width = 2 * main.shape[0], main.shape[1]
        if len(scale.shape) != 2 or scale.shape[0] != out or not scale.shape[1] or width % scale.shape[1]:
            raise CheckpointError(f"ModelOpt's int4 weight is {main.shape}, two outputs a byte; scales {scale.shape}.")
        group, said = width // scale.shape[1], quantization.get("group_size")
        if group != (_GROUP if said is None else said):
            words = f"no group_size, which then is {_GROUP}" if said is None else f"groups of {said!r}"
            raise CheckpointError(f"The config says {words}; weight_scale has one per {group} inputs.")
        return cls.of(group), (out, width)

    @classmethod
    def codes(cls, t: PackedTensor) -> NDArray[np.uint8]:
        """q + 8 `[out, in]`."""
        stored = t.parts["weight"]
        out = np.empty(t.shape, np.uint8)
        out[0::2], out[1::2] = stored & np.uint8(15), stored >> np.uint8(4)
        return out ^ np.uint8(8)

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        scales = t.parts["weight_scale"].astype(np.float32)
        values = dequantized(cls.codes(t), scales, np.full(scales.shape, 8, np.float32), None, cls.group_size)
        if "pre_quant_scale" in t.parts:
            values *= t.parts["pre_quant_scale"].astype(np.float32)
        return values

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return bool(affine_group(cls.group_size, t.shape[1]))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """4-bit affine with bias = -8 * scale; `pre_quant_scale` multiplies the input."""
        if not cls.has_native(t):
            return None
        scales = t.parts["weight_scale"].astype(np.float32)
        zeros = np.full(scales.shape, 8, np.float32)
        native = affine(pack(cls.codes(t), 4), 4, cls.group_size, scales, zeros)
        before = t.parts.get("pre_quant_scale")
        if native is None or before is None:
            return native
        return Native(**{**vars(native), "input_scale": before.astype(np.float32)})

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """Rows in new pairs; an odd number of them as one byte a code.

        Raises:
            UnsupportedError: an odd number of rows beside a `pre_quant_scale`.
        """
        run = range(t.shape[0])[index] if isinstance(index, slice) else range(0)
        if run and run.step == 1 and run.start % 2 == 0 and run.stop % 2 == 0:
            codes = t.parts["weight"][run.start // 2 : run.stop // 2]
        else:
            chosen = cls.codes(t)[index] ^ np.uint8(8)
            if len(chosen) % 2:
                return cls._bytes(t, chosen, index)
            codes = chosen[0::2] | chosen[1::2] << np.uint8(4)
        parts = {**t.parts, "weight": codes, "weight_scale": t.parts["weight_scale"][index]}
        return PackedTensor(t.format, (count(t.shape[0], index), t.shape[1]), parts)

    @classmethod
    def _bytes(cls, t: PackedTensor, chosen: Array, index: slice | Array) -> PackedTensor:
        """An odd number of rows, one byte a code: the same codes and scales as compressed-tensors keeps them."""
        if "pre_quant_scale" in t.parts:
            raise UnsupportedError(f"{len(chosen)} rows of a {cls.name} matrix, which packs them in pairs.")
        signed = ((chosen ^ np.uint8(8)).astype(np.int16) - 8).astype(np.int8)
        parts = {"weight": signed, "weight_scale": t.parts["weight_scale"][index]}
        return PackedTensor(CTInt8.of(cls.group_size), (len(chosen), t.shape[1]), parts)

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """One under the other where the inputs are scaled alike."""
        before = [t.parts.get("pre_quant_scale") for t in tensors]
        first = before[0]
        if (
            any((b is None) != (first is None) for b in before)
            or len({b.tobytes() for b in before if b is not None}) > 1
        ):
            return None
        parts = {n: np.concatenate([t.parts[n] for t in tensors]) for n in ("weight", "weight_scale")}
        if first is not None:
            parts["pre_quant_scale"] = first
        return PackedTensor(tensors[0].format, (sum(t.shape[0] for t in tensors), tensors[0].shape[1]), parts)

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout = cls.layout(shape)
        scales = (rng.uniform(0.5, 1.5, layout["weight_scale"].shape) / 8).astype(np.float32)
        codes = rng.integers(0, 256, layout["weight"].shape, np.uint8)
        return PackedTensor(cls, shape, {"weight": codes, "weight_scale": scales})
