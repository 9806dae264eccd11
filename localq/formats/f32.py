"""f32: IEEE single precision, stored as it is."""

from __future__ import annotations

from localq.formats.floats import FloatFormat


class F32(FloatFormat, name="f32", bits=32, bits_per_weight=32, dtype="float32"):
    pass
