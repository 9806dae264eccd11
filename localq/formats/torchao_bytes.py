"""torchao_int8 and torchao_float8: torchao's tensors in safetensors; weight = (qdata - zero_point) * scale.

`_weight_qdata` int8 or float8 `[out, in]`, `_weight_scale` `[rows, groups]`, for int8 `_weight_zero_point` of that
shape where it is asymmetric. Scales are spread evenly: `[1, 1]`, `[out, 1]` or `[out, in / group]`. What a tensor is
stands in the file's header, under its name, as JSON: `_type` Int8Tensor, IntxUnpackedToInt8Tensor (values of fewer
bits, one a byte) or Float8Tensor; Int4Tensor is torchao_int4.py's, MXTensor and NVFP4Tensor are torchao_floats.py's.
Other types, int4 in the order of tiles, are refused by name.
Source: torchao/prototype/safetensors, quantization/quantize_/workflows, 0.18.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part
from localq.formats.bits import pack
from localq.formats.integers import affine, affine_group
from localq.formats.rows_of_bytes import native_rows

_TYPES = {"Int8Tensor": "int8", "IntxUnpackedToInt8Tensor": "int8", "Float8Tensor": "float8_e4m3fn|float8_e5m2"}
_ELSEWHERE = ("Int4Tensor", "MXTensor", "NVFP4Tensor")
_PARTS = ("_weight_qdata", "_weight_scale", "_weight_zero_point")


class TorchAO(Format):
    """Both kinds of bytes."""

    codes: ClassVar[str] = ""
    spread: ClassVar[int] = 0  # weights that share a scale: 0 for a row, -1 for the matrix

    @classmethod
    def of(cls, spread: int) -> type[TorchAO]:
        """The variant whose scales are for so many weights."""
        name = f"{cls.base()}_{'matrix' if spread < 0 else f'g{spread}' if spread else 'row'}"
        root = TorchAOInt8 if cls.codes == "int8" else TorchAOFloat8
        stored = 8 + 32 / (spread if spread > 0 else 4096) * (spread >= 0)
        return root.variant(
            name,
            spread=spread,
            group_size=max(spread, 0),
            bits_per_weight=stored,
            same_size=root is TorchAOInt8 and (spread == 0 or spread >= 128),
        )

    @classmethod
    def base(cls) -> str:
        """The family's own name."""
        return "torchao_int8" if cls.codes == "int8" else "torchao_float8"

    @classmethod
    def find(cls, name: str) -> type[TorchAO] | None:
        head, _, tail = name.rpartition("_")
        if head != cls.base() or not (tail in ("row", "matrix") or (tail[:1] == "g" and tail[1:].isdecimal())):
            return None
        return cls.of({"row": 0, "matrix": -1}.get(tail) if tail in ("row", "matrix") else int(tail[1:7]))  # type: ignore[arg-type]

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(0), cls.of(32 if cls.codes == "int8" else -1)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) != 2 or 0 in shape or (cls.spread > 0 and shape[-1] % cls.spread):
            raise CheckpointError(f"A matrix of shape {shape} is no whole number of groups of {cls.spread}.")
        scale = (1, 1) if cls.spread < 0 else (shape[0], shape[1] // cls.spread if cls.spread else 1)
        return {
            "_weight_qdata": Part(cls.codes, shape),
            "_weight_scale": Part("float32|float16|bfloat16", scale),
        }

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if cls.codes != "int8":
            return {}
        return {"_weight_zero_point": Part("int8|int32|int64", cls.layout(shape)["_weight_scale"].shape)}

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """What the header says of this tensor (`torchao_tensor`), and the shapes."""
        if "_weight_qdata" not in stored:
            return None
        kind = read_header((quantization or {}).get("torchao_tensor"), stored)["_type"]
        if _TYPES.get(kind) != cls.codes:
            return None
        data, scale = stored["_weight_qdata"], stored.get("_weight_scale")
        if scale is None or len(data.shape) != 2 or data.dtype not in cls.codes.split("|"):
            raise CheckpointError(
                f"A {kind} is stored as qdata {data.dtype} {data.shape} and {'no ' * (scale is None)}scale; expected "
                f"{cls.codes} [out, in] and a scale."
            )
        out, width = data.shape
        groups = scale.shape[-1] if len(scale.shape) == 2 else 0
        if scale.shape == (1, 1) and out > 1:
            return cls.of(-1), data.shape
        if groups < 1 or scale.shape[0] != out or width % groups:
            raise CheckpointError(
                f"_weight_scale is {scale.shape}; expected (1, 1) or ({out}, groups) for {data.shape}."
            )
        return cls.of(0 if groups == 1 else width // groups), data.shape

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        if cls.spread >= 0:
            return super().select_rows(t, index)
        data = t.parts["_weight_qdata"][index]
        return PackedTensor(cls, data.shape, {**t.parts, "_weight_qdata": data})

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        scale = t.parts["_weight_scale"].astype(np.float32)
        out = t.parts["_weight_qdata"].astype(np.float32).reshape(len(scale), scale.shape[1], -1)
        zero = t.parts.get("_weight_zero_point")
        if zero is not None:
            out -= zero.astype(np.float32)[:, :, None]
        out *= scale[:, :, None]
        return out.reshape(t.shape)


_FACTS: dict[str, Any] = {
    **{"family": "torchao", "bits": 8, "bits_per_weight": 8 + 32 / 4096, "scale": "float32 per row or group"},
    **{"containers": ("safetensors",), "mains": ("_weight_qdata",), "suffixes": _PARTS, "zero_scales": True},
    **{"scale_parts": ("_weight_scale",), "group_size": 0},
}


class TorchAOInt8(TorchAO, name="torchao_int8", checked="torchao", kernel="integers", **_FACTS, symmetric=False):
    codes = "int8"

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return cls.spread == 0 or (cls.spread > 0 and bool(affine_group(cls.spread, t.shape[-1])))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine: the scale of a row as its multiplier, or scales and biases of groups."""
        scale, data = t.parts["_weight_scale"].astype(np.float32), t.parts["_weight_qdata"]
        zero = t.parts.get("_weight_zero_point", np.zeros(scale.shape, np.int8)).astype(np.float32)
        if cls.spread < 0:
            return None
        if cls.spread == 0 and not zero.any():
            return native_rows(data, scale[:, 0])
        words = pack(data.view(np.uint8) ^ np.uint8(0x80), 8)
        return affine(words, 8, cls.spread or t.shape[1], scale, zero + np.float32(128))

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        scale = rng.uniform(0.005, 0.01, cls.layout(shape)["_weight_scale"].shape).astype(np.float32)
        return PackedTensor(
            cls, shape, {"_weight_qdata": rng.integers(-128, 128, shape, np.int8), "_weight_scale": scale}
        )


class TorchAOFloat8(TorchAO, name="torchao_float8", checked="torchao", kernel="fp8", **_FACTS):
    codes = "float8_e4m3fn|float8_e5m2"

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        codes = rng.standard_normal(shape).astype(np.float32).astype(ml_dtypes.float8_e4m3fn)
        scale = rng.uniform(0.5, 1, cls.layout(shape)["_weight_scale"].shape).astype(np.float32)
        return PackedTensor(cls, shape, {"_weight_qdata": codes, "_weight_scale": scale})


def read_header(text: Any, stored: Mapping[str, Part]) -> dict[str, Any]:
    """What the header's entry says of a tensor: the values of its `_data`, and `_type`.

    Raises:
        CheckpointError: there is no entry, or it is no JSON of that kind, or names an array that is not stored.
        UnsupportedError: a type localq does not decode.
    """
    if not isinstance(text, str) or len(text) > 1 << 16:
        raise CheckpointError("The file's header has no entry about this torchao tensor; its type was expected there.")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"The header's entry about this torchao tensor is no JSON: {error}.") from None
    kind, data = (found.get("_type"), found.get("_data")) if isinstance(found, dict) else (None, None)
    known = (*_TYPES, *_ELSEWHERE)
    if kind not in known:
        raise UnsupportedError(
            f"torchao stored this tensor as {str(kind)[:40]!r}; localq decodes {', '.join(known)}.",
            "Other int4 of torchao lies in the order of one device's kernel: take the model in another packing.",
        )
    names = found.get("_tensor_data_names")
    for name in names if isinstance(names, list) else []:
        if f"_weight_{name}" not in stored:
            raise CheckpointError(
                f"The header says that this {kind} has the array {str(name)[:40]!r}; stored are "
                f"{', '.join(sorted(stored))}."
            )
    return {**(data if isinstance(data, dict) else {}), "_type": str(kind)}
