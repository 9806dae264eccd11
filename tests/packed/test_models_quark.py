"""A tiny Llama in AMD Quark's integers, 6-bit floats and 4-bit floats by module: the dequantised logits.

The packers are written from the published layouts and share no code with localq.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from tests.factories.tiny import build
from tests.packed.models import Packed, Packer, compare, decoded, rounded, write_both
from tests.packed.test_models_floats import SKIPPED, e2m1, ways


def scheme(dtype: str, qscheme: str, group: int | None = None, **more: Any) -> dict[str, Any]:
    return {"weight": {"dtype": dtype, "qscheme": qscheme, "group_size": group, "ch_axis": 0, **more}}


CONFIG = {
    "quant_method": "quark",
    "export": {"pack_method": "reorder", "weight_format": "real_quantized", "kv_cache_group": []},
    "global_quant_config": scheme("uint4", "per_group", 64),
    "layer_quant_config": {
        "*.o_proj": scheme("int8", "per_channel"),
        "*.mlp.up_proj": scheme("fp6_e2m3", "per_group", 32, scale_format="e8m0"),
        "*.mlp.down_proj": scheme("fp4", "per_group", 32, scale_format="e8m0"),
    },
    "layer_type_quant_config": {},
    "exclude": ["lm_head"],
}


def words(fields: np.ndarray) -> np.ndarray:
    """Eight 4-bit fields of the last axis an int32: 0 2 4 6 1 3 5 7 from the low bits on."""
    blocks = fields.reshape(len(fields), -1, 8)[..., [0, 2, 4, 6, 1, 3, 5, 7]]
    return np.asarray((blocks << (4 * np.arange(8))).sum(axis=-1)).astype(np.uint32).view(np.int32)


def uint4(weight: np.ndarray) -> Packed:
    codes, scales, zeros, index = rounded(weight, 4, 64, symmetric=False)
    parts = {"weight": words(codes.T), "weight_zero_point": words(zeros.T), "weight_scale": scales.T}
    return parts, decoded(codes, scales, zeros, index)


def int8(weight: np.ndarray) -> Packed:
    scales = (np.abs(weight).max(axis=1) / 127).astype(np.float32)
    codes = np.rint(weight / scales[:, None]).astype(np.int8)
    zeros = np.zeros(len(weight), np.int8)
    parts = {"weight": codes, "weight_scale": scales, "weight_zero_point": zeros}
    return parts, codes.astype(np.float32) * scales[:, None]


def shared(weight: np.ndarray, greatest: float) -> tuple[np.ndarray, np.ndarray]:
    """Exponent bytes per 32 and their powers, spread."""
    peaks = np.abs(weight).reshape(len(weight), -1, 32).max(axis=-1)
    powers = np.ceil(np.log2(peaks / greatest))
    return (powers + 127).astype(np.uint8), np.repeat(np.exp2(powers), 32, axis=1).astype(np.float32)


def mxfp6(weight: np.ndarray) -> Packed:
    exponents, wide = shared(weight, 7.5)
    values = (weight / wide).astype(ml_dtypes.float6_e2m3fn)
    bits = (values.view(np.uint8)[..., None] >> np.arange(6) & 1).astype(np.uint8).reshape(len(weight), -1)
    packed = np.packbits(bits, axis=-1, bitorder="little")
    return {"weight": packed, "weight_scale": exponents}, values.astype(np.float32) * wide


def mxfp4(weight: np.ndarray) -> Packed:
    exponents, wide = shared(weight, 6)
    packed, values = e2m1(weight / wide)
    return {"weight": packed, "weight_scale": exponents}, (values * wide).astype(np.float32)


def test_llama_of_four_schemes(tmp_path: Path) -> None:
    kinds: dict[str, Packer] = {"o_proj": int8, "up_proj": mxfp6, "down_proj": mxfp4}

    def pick(path: str, weight: np.ndarray) -> Packer | None:
        return None if SKIPPED.search(path) and "embed" not in path else kinds.get(path.rpartition(".")[2], uint4)

    config = {**CONFIG, "exclude": ["lm_head"]}
    model, distance = compare(*write_both(build("llama"), tmp_path, pick, config))
    assert distance < 1e-4
    assert set(ways(model)) >= {"quark_uint4_g64", "quark_int8_channel", "mxfp6_e2m3", "mxfp4_modelopt"}
