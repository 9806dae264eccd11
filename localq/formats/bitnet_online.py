"""bitnet_online: the float master weights of a BitNet in training, made ternary when used, once for the whole matrix.

weight = clip(round(w / m), -1, 1) * m with m = mean |w| (at least 1e-5), the result in w's own dtype. One array
`weight` `[out, in]`; the config's `quantization_mode` "online" says that this is meant.
Source: transformers/integrations/bitnet.py (`WeightQuant`), 5.23.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part
from localq.formats.bits import pack
from localq.formats.integers import affine_group
from localq.formats.reselect import floats


class BitNetOnline(
    Format,
    name="bitnet_online",
    checked="transformers",
    family="bitnet",
    bits=16,
    group_size=0,
    bits_per_weight=16,
    scale="mean magnitude of a matrix",
    containers=("safetensors",),
    suffixes=("weight",),
    scale_parts=("weight",),
    zero_scales=True,
    same_size=True,
    mixed_rows=True,
):
    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {"weight": Part("bfloat16|float16|float32", shape)}

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """A lone float matrix of a module that methods/bitnet.py calls `online`."""
        if not quantization or quantization.get("quant_method") != "bitnet" or set(stored) != {"weight"}:
            return None
        if quantization.get("online") is not True:
            return None
        part = stored["weight"]
        return (cls, part.shape) if len(part.shape) == 2 and 0 not in part.shape else None

    @classmethod
    def ternary(cls, t: PackedTensor) -> tuple[NDArray[np.int8], np.float32]:
        """-1, 0, 1 and their step."""
        w = t.parts["weight"]
        mean = np.float32(sum(float(np.abs(row.astype(np.float64)).sum()) for row in w) / max(w.size, 1))
        scale = np.float32(1) / np.maximum(mean, np.float32(1e-5))
        codes = np.clip(np.rint(w.astype(np.float32) * scale), -1, 1).astype(np.int8)
        return codes, np.float32((np.float32(1) / scale).astype(w.dtype))

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        codes, step = cls.ternary(t)
        out = codes.astype(np.float32)
        out *= step
        return out

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """Decoded, for the step is that of the whole matrix."""
        return floats(cls.dequantize(t)[index])

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine of 2 bits with unit scales: an eighth of the stored size."""
        group = affine_group(t.shape[1], t.shape[1])
        if not group:
            return None
        codes, step = cls.ternary(t)
        ones = np.ones((t.shape[0], t.shape[1] // group), np.float16)
        words = pack((codes + 1).astype(np.uint8), 2)
        return Native("affine", 2, group, words, ones, -ones, multiplier=np.asarray(step, np.float32))

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        return PackedTensor(cls, shape, {"weight": rng.standard_normal(shape).astype(np.float16)})
