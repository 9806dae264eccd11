"""torchao's int4, MX and NVFP4 tensors against torchao's own packers and decoders (tools/fixtures/torchao_more.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from localq.errors import CheckpointError, UnsupportedError
from localq.formats import find
from tests.factories.tiny import build
from tests.packed.fixtures import assert_same, variants
from tests.packed.models import Packed, compare, write_both
from tests.packed.native import assert_rows, decoded_by_mlx
from tests.packed.test_bytes import load
from tests.packed.test_models_floats import SKIPPED, e2m1, ways

PROVES = {"torchao_int4", "torchao_mx", "torchao_nvfp4"}
VARIANTS = variants("torchao_more.safetensors")
FORMS = {
    **{"int4_g32": "torchao_int4_g32", "int4_g128": "torchao_int4_g128", "int4_float8": "torchao_int4_g64"},
    **{"int4_awq": "torchao_int4_g64", "mxfp4": "torchao_mx_mxfp4", "mxfp8": "torchao_mx_mxfp8"},
    **{"mxfp8_swizzled": "torchao_mx_mxfp8_swizzled", "nvfp4": "torchao_nvfp4_whole"},
    **{"nvfp4_blocks_alone": "torchao_nvfp4_blocks", "nvfp4_swizzled": "torchao_nvfp4_whole_swizzled"},
}


@pytest.mark.parametrize("name", FORMS)
def test_every_bit_is_torchaos(tmp_path: Path, name: str) -> None:
    t = load(tmp_path, VARIANTS[name])
    assert t.format.name == FORMS[name] and find(FORMS[name]) is t.format
    assert_same(t, VARIANTS[name])
    if t.shape[0] > 16:
        assert_rows(t)
    held, decoded = t.format.to_native(t), decoded_by_mlx(t)
    assert held is not None and decoded is not None
    if held.exactness == "exact":
        np.testing.assert_array_equal(decoded, t.dequantize())
    else:
        assert name.startswith("nvfp4") and held.error < 1e-6
        np.testing.assert_allclose(decoded, t.dequantize(), rtol=3e-7)


def test_elements_that_mlx_has_not(tmp_path: Path) -> None:
    assert set(VARIANTS) - set(FORMS) == {"mxfp8_e5m2"}
    with pytest.raises(UnsupportedError, match="MXTensor is of float8_e5m2"):
        load(tmp_path, VARIANTS["mxfp8_e5m2"])


def header(name: str, **change: Any) -> str:
    said = json.loads(VARIANTS[name].config["header"])
    return json.dumps({**said, "_data": {**said["_data"], **change}})


DAMAGED: list[tuple[str, dict[str, Any], str]] = [
    ("int4_g32", {"_weight_zero_point": None}, "this Int4Tensor has the array 'zero_point'"),
    ("int4_g32", {"_weight_scale": np.full((4, 16), np.inf, np.float32)}, "64 scales that make no weights"),
    ("int4_g32", {"header": header("int4_g32", block_size=[1, 64])}, r"float.* \(4, 16\); expected .* \(2, 16\)"),
    ("int4_g32", {"header": header("int4_g32", block_size=[2, 32])}, r"\[1, group\] was expected"),
    ("int4_g32", {"header": header("int4_g32", block_size=None)}, r"\[1, group\] was expected"),
    ("mxfp4", {"header": header("mxfp4", block_size=16)}, "block_size 16; 32 was expected"),
    ("mxfp4", {"header": VARIANTS["mxfp8"].config["header"]}, "calls MXTensor is stored as _weight_qdata uint8"),
    ("mxfp4", {"header": VARIANTS["nvfp4_blocks_alone"].config["header"]}, "calls NVFP4Tensor is stored as"),
    ("mxfp8_swizzled", {"_weight_scale": np.zeros((32, 8), np.uint8)}, r"\(32, 8\); expected .* \(32, 16\)"),
    ("mxfp8", {"_weight_scale": np.full((16, 4), 255, np.uint8)}, "64 scales that make no weights"),
    ("nvfp4", {"_weight_per_tensor_scale": np.array(np.nan, np.float32)}, "1 scales that make no weights"),
    ("nvfp4", {"_weight_per_tensor_scale": None}, "this NVFP4Tensor has the array 'per_tensor_scale'"),
    ("int4_awq", {"_weight_act_pre_scale": None}, "this Int4Tensor has the array 'act_pre_scale'"),
    ("mxfp4", {"header": header("mxfp4", block_size=32).replace('"scale"', '"zeros"')}, "has the array 'zeros'"),
]


@pytest.mark.parametrize(("name", "change", "said"), DAMAGED)
def test_damage_is_told(tmp_path: Path, name: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        load(tmp_path, VARIANTS[name], **change)


def entry(kind: str, **data: Any) -> str:
    return json.dumps({"_type": kind, "_data": data})


def int4(weight: np.ndarray) -> Packed:
    """Groups of 64, zero points as weights, as mslk's `int4_row_quantize_zp` describes them."""
    groups = weight.reshape(len(weight), -1, 64)
    scales = ((groups.max(-1) - groups.min(-1)) / 15).astype(ml_dtypes.bfloat16)
    zeros = (groups.min(-1) + 8 * scales.astype(np.float32)).astype(ml_dtypes.bfloat16)
    wide, middle = (np.asarray(a, np.float32)[..., None] for a in (scales, zeros))
    codes = np.clip(np.rint((groups - middle) / wide), -8, 7).astype(np.int64)
    flat = codes.reshape(weight.shape) & 15
    packed = (flat[:, 0::2] | flat[:, 1::2] << 4).astype(np.uint8).view(np.int8)
    values = (codes * wide + middle).astype(np.float32).reshape(weight.shape)
    return {"_weight_qdata": packed, "_weight_scale": scales.T, "_weight_zero_point": zeros.T}, values


def mxfp4(weight: np.ndarray) -> Packed:
    peaks = np.abs(weight).reshape(len(weight), -1, 32).max(axis=-1)
    powers = np.exp2(np.ceil(np.log2(peaks / 6))).astype(np.float32)
    wide = np.repeat(powers, 32, axis=1)
    packed, values = e2m1(weight / wide)
    parts = {"_weight_qdata": packed, "_weight_scale": powers.astype(ml_dtypes.float8_e8m0fnu)}
    return parts, (values * wide).astype(np.float32)


def test_llama(tmp_path: Path) -> None:
    """The files' header says of every tensor what it is, as torchao writes it there."""
    said: dict[str, str] = {}

    def pick(path: str, weight: np.ndarray) -> Any:
        if SKIPPED.search(path):
            return None
        element = {"_type": "torch.dtype", "_data": "float4_e2m1fn_x2"}
        small = entry("MXTensor", elem_dtype=element, block_size=32, is_swizzled_scales=False)
        said[f"{path}.weight"] = small if "mlp" in path else entry("Int4Tensor", block_size=[1, 64])
        return mxfp4 if "mlp" in path else int4

    packed, dense = write_both(build("llama"), tmp_path, pick, {"quant_method": "torchao"})
    add_metadata(packed / "model.safetensors", said)
    model, distance = compare(packed, dense)
    assert distance < 1e-4 and set(ways(model)) >= {"torchao_int4_g64", "torchao_mx_mxfp4"}


def add_metadata(path: Path, said: dict[str, str]) -> None:
    """The same file with a `__metadata__` of its header."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    text = json.dumps({"__metadata__": said, **json.loads(raw[8 : 8 + length])}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
