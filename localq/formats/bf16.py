"""bf16: the upper half of an IEEE single (1 sign, 8 exponent, 7 mantissa bits); arrays are ml_dtypes bfloat16."""

from __future__ import annotations

import numpy as np

from localq.formats.arrays import NDArray
from localq.formats.base import PackedTensor
from localq.formats.floats import FloatFormat


class BF16(FloatFormat, name="bf16", bits=16, bits_per_weight=16, dtype="bfloat16"):
    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        out = t.parts["weight"].view(np.uint16).astype(np.uint32)
        out <<= np.uint32(16)
        return out.view(np.float32)
