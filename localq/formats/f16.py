"""f16: IEEE half precision (1 sign, 5 exponent, 10 mantissa bits), stored as it is."""

from __future__ import annotations

from localq.formats.floats import FloatFormat


class F16(FloatFormat, name="f16", bits=16, bits_per_weight=16, dtype="float16"):
    pass
