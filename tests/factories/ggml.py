"""ggml's own quantiser and decoder through ctypes: the oracle for every ggml block type.

Needs llama-cpp-python's libggml-base (`available()` says so); nothing is loaded at import.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# name -> (id, weights per block, bytes per block); enum ggml_type of ggml/include/ggml.h
TYPES: dict[str, tuple[int, int, int]] = {
    "f32": (0, 1, 4),
    "f16": (1, 1, 2),
    "bf16": (30, 1, 2),
    "q4_0": (2, 32, 18),
    "q4_1": (3, 32, 20),
    "q5_0": (6, 32, 22),
    "q5_1": (7, 32, 24),
    "q8_0": (8, 32, 34),
    "q2_k": (10, 256, 84),
    "q3_k": (11, 256, 110),
    "q4_k": (12, 256, 144),
    "q5_k": (13, 256, 176),
    "q6_k": (14, 256, 210),
    "iq2_xxs": (16, 256, 66),
    "iq2_xs": (17, 256, 74),
    "iq3_xxs": (18, 256, 98),
    "iq1_s": (19, 256, 50),
    "iq4_nl": (20, 32, 18),
    "iq3_s": (21, 256, 110),
    "iq2_s": (22, 256, 82),
    "iq4_xs": (23, 256, 136),
    "iq1_m": (29, 256, 56),
    "tq1_0": (34, 256, 54),
    "tq2_0": (35, 256, 66),
    "mxfp4": (39, 32, 17),
    "nvfp4": (40, 64, 36),
    "q1_0": (41, 128, 18),
    "q2_0": (42, 64, 18),
}
FLOATS = ("f32", "f16", "bf16")
PACKED = tuple(name for name in TYPES if name not in FLOATS)


class _Traits(ctypes.Structure):
    """struct ggml_type_traits (ggml/include/ggml.h)."""

    _fields_ = [
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        ("from_float_ref", ctypes.c_void_p),
    ]


def available() -> bool:
    """True where llama-cpp-python (which carries ggml) is installed."""
    return importlib.util.find_spec("llama_cpp") is not None


@cache
def _library() -> Any:
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None and spec.origin is not None, "llama-cpp-python is not installed"
    suffix = "dylib" if sys.platform == "darwin" else "so"
    lib = ctypes.CDLL(str(Path(spec.origin).parent / "lib" / f"libggml-base.{suffix}"))
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    lib.ggml_get_type_traits.restype = ctypes.POINTER(_Traits)
    lib.ggml_get_type_traits.argtypes = [ctypes.c_int]
    return lib


def quantize(w: NDArray[np.float32], kind: str) -> NDArray[np.uint8]:
    """ggml's packing of float32 `[..., in]` as uint8 `[..., in / block * bytes]`, uniform importance matrix."""
    id_, block, nbytes = TYPES[kind]
    w = np.ascontiguousarray(w, dtype=np.float32)
    columns = w.shape[-1]
    assert columns % block == 0, f"{kind} needs rows of a multiple of {block}, not {columns}"
    rows = w.size // columns
    out = np.zeros((rows, columns // block * nbytes), np.uint8)
    if kind == "f32":
        out[:] = w.reshape(rows, columns).view(np.uint8)
    else:
        ones = np.ones(columns, np.float32)
        done = _library().ggml_quantize_chunk(id_, w.ctypes.data, out.ctypes.data, 0, rows, columns, ones.ctypes.data)
        assert done == out.nbytes, f"ggml wrote {done} bytes of {kind}, expected {out.nbytes}"
    return out.reshape(*w.shape[:-1], -1)


def dequantize(packed: NDArray[np.uint8], kind: str) -> NDArray[np.float32]:
    """ggml's `to_float` of uint8 `[..., bytes]` as float32 `[..., in]`."""
    id_, block, nbytes = TYPES[kind]
    packed = np.ascontiguousarray(packed)
    columns = packed.shape[-1] // nbytes * block
    if kind == "f32":
        return packed.view(np.float32).reshape(*packed.shape[:-1], columns).copy()
    out = np.empty((*packed.shape[:-1], columns), np.float32)
    traits = _library().ggml_get_type_traits(id_).contents
    traits.to_float(packed.ctypes.data, out.ctypes.data, out.size)
    return out
