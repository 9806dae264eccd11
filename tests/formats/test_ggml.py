"""Every ggml format decodes bit for bit as gguf-py does; q1_0 and q2_0, which gguf-py lacks, as ggml's own C code."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from localq.formats import FORMATS
from localq.formats.base import GGMLFormat
from tests.formats.blocks import crafted_blocks, random_blocks, tensor

GGML = {name: fmt for name, fmt in FORMATS.items() if issubclass(fmt, GGMLFormat)}
IN_GGUF_PY = sorted(set(GGML) - {"q1_0", "q2_0"})  # gguf 0.19.0 has no decoder for these two


def assert_same_bits(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Equal bit patterns, signs of zeros included, but any NaN for any NaN."""
    assert ours.dtype == theirs.dtype == np.float32
    assert ours.shape == theirs.shape
    finite = ~np.isnan(theirs)
    np.testing.assert_array_equal(np.isnan(ours), ~finite)
    np.testing.assert_array_equal(ours.view(np.uint32)[finite], theirs.view(np.uint32)[finite])


def gguf_py(name: str, stored: np.ndarray) -> np.ndarray:
    kind = gguf.GGMLQuantizationType[name.removesuffix("_ggml").upper()]
    with np.errstate(all="ignore"):
        return gguf.dequantize(stored, kind)


@pytest.mark.parametrize("name", IN_GGUF_PY)
def test_random_bytes_decode_as_in_gguf_py(name: str) -> None:
    t = tensor(GGML[name], random_blocks(GGML[name], 20_000))
    assert_same_bits(t.dequantize(), gguf_py(name, t.parts["weight"]))


@pytest.mark.parametrize("name", IN_GGUF_PY)
def test_special_scales_decode_as_in_gguf_py(name: str) -> None:
    t = tensor(GGML[name], crafted_blocks(GGML[name]))
    assert_same_bits(t.dequantize(), gguf_py(name, t.parts["weight"]))
