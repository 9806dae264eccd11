"""ct_sparse_<24|any>_<type>: compressed-tensors' sparse-24-bitmask and sparse-bitmask; only nonzero weights are stored.

`bitmask` uint8 `[out, ceil(in / 8)]` has a bit for every weight of a row, the lowest first; the weights whose bits are
set follow each other in `compressed`: `[out, in / 2]` where two of every four are kept, else `[count]` for all rows,
and then `row_offsets` int64 `[out]` says where each row begins. `shape` int64 `[2]` or `[2, 1]`. Weights are 16- or
32-bit floats, or float8_e4m3 or int8 with `weight_scale` of the tensor `[1]` or of every row `[out, 1]`.
Source: compressed-tensors 0.12.2, compressors/sparse_compressors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Floats, NDArray
from localq.formats.base import Format, Match, PackedTensor, Part
from localq.formats.reselect import RowDecoder

_KINDS = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "fp8": "float8_e4m3fn", "int8": "int8"}
_BY_DTYPE = {dtype: kind for kind, dtype in _KINDS.items()}
_BITS = {"f16": 16, "bf16": 16, "f32": 32, "fp8": 8, "int8": 8}
_NAME = re.compile(r"ct_sparse_(24|any)_(f16|bf16|f32|fp8|int8)")


class CTSparse(
    RowDecoder,
    name="ct_sparse",
    checked="compressed-tensors",
    family="compressed-tensors",
    bits=16,
    group_size=0,
    block_size=4,
    bits_per_weight=9,
    scale="none; of 8-bit weights per tensor or row",
    containers=("safetensors",),
    mains=("compressed",),
    suffixes=("compressed", "bitmask", "shape", "row_offsets", "weight_scale"),
    scale_parts=("weight_scale",),
    kernel="sparse",
):
    regular: ClassVar[bool] = True  # two of every four
    kind: ClassVar[str] = "bf16"

    @classmethod
    def of(cls, regular: bool, kind: str) -> type[CTSparse]:
        """The variant with two of four weights, or any; of this type of weights."""
        return CTSparse.variant(
            f"ct_sparse_{'24' if regular else 'any'}_{kind}",
            regular=regular,
            kind=kind,
            bits=_BITS[kind],
            block_size=4 if regular else 1,
            bits_per_weight=_BITS[kind] / 2 + 1,
        )

    @classmethod
    def find(cls, name: str) -> type[CTSparse] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(found[1] == "24", found[2])

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(True, "bf16"), cls.of(True, "fp8"), cls.of(False, "f16")

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if not shape or shape[-1] % cls.block_size:
            raise CheckpointError(f"A row of {shape[-1:]} weights is no multiple of {cls.name}'s block of 4.")
        if len(shape) != 2:
            raise CheckpointError(f"{cls.name} packs matrices; this is {shape}.")
        out, width = shape
        parts = {
            "compressed": Part(_KINDS[cls.kind], (out, width // 2) if cls.regular else (0,)),
            "bitmask": Part("uint8", (out, -(-width // 8))),
            "shape": Part("int64", (2,)),
        }
        return parts if cls.regular else {**parts, "row_offsets": Part("int64", (out,))}

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {"weight_scale": Part("float16|bfloat16|float32", (1,))} if _BITS[cls.kind] == 8 else {}

    @classmethod
    def check_parts(cls, shape: tuple[int, ...], parts: Mapping[str, Part]) -> None:
        """As the base, but for what is spelt in two ways, and the count of weights where any are kept."""
        want, found = {**cls.layout(shape), **cls.options(shape)}, dict(parts)
        other = {"shape": (2, 1), "weight_scale": (shape[0], 1)}
        for name, also in other.items():
            if name in found and found[name].shape == also:
                found[name] = Part(found[name].dtype, want[name].shape)
        if not cls.regular and "compressed" in found and len(found["compressed"].shape) == 1:
            found["compressed"] = Part(found["compressed"].dtype, (0,))
        super().check_parts(shape, found)
        if _BITS[cls.kind] == 8 and "weight_scale" not in parts:
            raise CheckpointError(f"A {cls.name} tensor of shape {shape} lacks its part 'weight_scale'.")

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if "compressed" not in stored:
            return None
        said = (quantization or {}).get("sparsity")
        known = {"sparse-24-bitmask": True, "sparse-bitmask": False}
        kind = _BY_DTYPE.get(stored["compressed"].dtype)
        if said not in known or kind is None or not {"bitmask", "shape"} <= set(stored):
            raise CheckpointError(
                f"{', '.join(f'{n} {p.dtype} {p.shape}' for n, p in stored.items())} with sparsity {said!r}; expected "
                f"compressed ({', '.join(_BY_DTYPE)}), bitmask and shape, and sparse-24-bitmask or sparse-bitmask."
            )
        shape = tuple(int(n) for n in stored["shape"].values().reshape(-1))
        if len(shape) != 2 or min(shape) < 1 or stored["shape"].dtype != "int64":
            raise CheckpointError(f"'shape' is {stored['shape'].dtype} {shape}; two positive int64 were expected.")
        return cls.of(known[said], kind), shape

    @classmethod
    def check_scales(cls, t: PackedTensor) -> None:
        """Also that the bits set are as many as the weights stored, in every row."""
        super().check_scales(t)
        counts, width = np.bitwise_count(t.parts["bitmask"]).sum(axis=1, dtype=np.int64), t.shape[1]
        beyond = width % 8 and (t.parts["bitmask"][:, -1] >> np.uint8(width % 8)).any()
        if cls.regular:
            right = (counts == width // 2).all()
        else:
            ends = np.cumsum(counts)
            right = ends[-1] == len(t.parts["compressed"]) and np.array_equal(t.parts["row_offsets"], ends - counts)
        if not right or beyond:
            raise CheckpointError(
                f"bitmask of a {cls.name} tensor of shape {t.shape} keeps {int(counts.sum())} weights, "
                f"{int(counts.min())} to {int(counts.max())} in a row; compressed {t.parts['compressed'].shape}"
                f"{'' if cls.regular else ' and row_offsets'} say otherwise."
            )

    @classmethod
    def decode_rows(cls, t: PackedTensor, at: NDArray[np.int64]) -> Floats:
        mask = np.unpackbits(t.parts["bitmask"][at], axis=1, count=t.shape[1], bitorder="little").astype(bool)
        kept = t.parts["compressed"]
        if cls.regular:
            values = kept[at].reshape(-1)
        else:
            begin = t.parts["row_offsets"][at]
            runs = [kept[b : b + n] for b, n in zip(begin, mask.sum(axis=1), strict=True)]
            values = np.concatenate([kept[:0], *runs])
        out = np.zeros(mask.shape, np.float32)
        out[mask] = values.astype(np.float32)
        if "weight_scale" in t.parts:
            scale = t.parts["weight_scale"].astype(np.float32)
            out *= scale if scale.ndim == 1 else scale[at]
        return out

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        out, width = shape
        halves = np.array(
            [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1]], np.uint8
        )
        mask = halves[rng.integers(0, 6, (out, -(-width // 4)))].reshape(out, -1)[:, :width]
        counts = mask.sum(axis=1, dtype=np.int64)
        dtype = getattr(ml_dtypes, _KINDS[cls.kind], _KINDS[cls.kind])
        values = (rng.standard_normal(int(counts.sum())) * (40 if cls.kind == "int8" else 1)).astype(np.float32)
        parts = {
            "compressed": np.clip(values, -127, 127).astype(dtype).reshape((out, -1) if cls.regular else (-1,)),
            "bitmask": np.packbits(mask, axis=1, bitorder="little"),
            "shape": np.array(shape),
        }
        if not cls.regular:
            parts["row_offsets"] = np.cumsum(counts) - counts
        if _BITS[cls.kind] == 8:
            parts["weight_scale"] = rng.uniform(0.5, 1, (out, 1)).astype(np.float32)
        return PackedTensor(cls, shape, parts)
