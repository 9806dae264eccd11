"""Every ggml format decodes bit for bit as gguf-py does (but q1_0 and q2_0, which it lacks) and as ggml's C code."""

from __future__ import annotations

import ctypes
import hashlib
from pathlib import Path

import gguf
import numpy as np
import pytest

from localq.formats import FORMATS
from localq.formats.base import GGMLFormat, PackedTensor
from localq.formats.ggml_types import GGML_BY_NAME
from localq.formats.grids import SHA256, grid
from tests.formats.blocks import HALVES, crafted_blocks, random_blocks, tensor

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


@pytest.mark.parametrize("name", sorted(GGML))
@pytest.mark.parametrize(
    "source", [lambda f: random_blocks(f, 20_000, seed=2), crafted_blocks], ids=["random", "crafted"]
)
def test_every_type_decodes_as_in_ggml_itself(name: str, source, to_float) -> None:
    t = tensor(GGML[name], source(GGML[name]))
    assert_same_bits(t.dequantize(), to_float(name, t.parts["weight"]).reshape(t.shape))


@pytest.fixture(scope="module")
def to_float():
    """ggml's C decoder, found through `ggml_get_type_traits` in the library llama-cpp-python brings."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: no ggml to compare with")
    folder = Path(llama_cpp.__file__).parent / "lib"
    found = sorted(folder.glob("*ggml-base*"))
    if not found:
        pytest.skip(f"{folder} holds no libggml-base")
    library = ctypes.CDLL(str(found[0]))
    library.ggml_get_type_traits.restype = ctypes.POINTER(TypeTraits)

    def decode(name: str, stored: np.ndarray) -> np.ndarray:
        kind = GGML_BY_NAME[name]
        traits = library.ggml_get_type_traits(kind.id).contents
        assert (traits.block, traits.bytes) == (kind.block, kind.bytes)
        assert traits.name.decode() == name.removesuffix("_ggml") or name.endswith("_k")
        raw = np.ascontiguousarray(stored)
        out = np.empty(raw.size // kind.bytes * kind.block, np.float32)
        traits.to_float(raw.ctypes.data, out.ctypes.data, out.size)
        return out

    return decode


class TypeTraits(ctypes.Structure):
    """`struct ggml_type_traits` (ggml/include/ggml.h, ggml 0.25)."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("block", ctypes.c_int64),
        ("interleave", ctypes.c_int64),
        ("bytes", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        ("from_float", ctypes.c_void_p),
    ]


def test_q1_0_by_hand() -> None:
    """Bit i of byte j is weight 8j + i; a set bit is d, a clear one -d."""
    block = np.zeros(18, np.uint8)
    block[:2] = np.float16(0.5).reshape(1).view(np.uint8)
    block[2], block[17] = 0b101, 0x80
    out = tensor(GGML["q1_0"], np.stack([block, block])).dequantize()[0, :128]
    assert set(np.flatnonzero(out == 0.5)) == {0, 2, 127} and (np.abs(out) == 0.5).all()


def test_q2_0_by_hand() -> None:
    """Bits 2i and 2i + 1 of byte j are weight 4j + i; codes 0 to 3 are -1, 0, 1, 2 times d."""
    block = np.full(18, 0b01010101, np.uint8)
    block[:2] = np.float16(-3).reshape(1).view(np.uint8)
    block[2], block[17] = 0b11_10_01_00, 0b11_01_01_01
    out = tensor(GGML["q2_0"], np.stack([block, block])).dequantize()[0, :64]
    np.testing.assert_array_equal(out[:4], [3, 0, -3, -6])
    assert out[63] == -6 and not out[4:63].any()


def test_iq1_ms_scattered_scale_takes_special_values() -> None:
    """Its fp16 lies in the top four bits of four words; every special half is put there."""
    fmt = GGML["iq1_m"]
    blocks = np.repeat(random_blocks(fmt, 4), len(HALVES), axis=0)
    words = blocks[:, 48:].view(np.uint16)
    words &= 0x0FFF
    for nibble in range(4):
        words[:, nibble] |= np.tile(HALVES >> (4 * nibble) & 15, 4) << 12
    t = tensor(fmt, blocks)
    assert np.isinf(t.dequantize()).any() and (t.dequantize() == 0).any()
    assert_same_bits(t.dequantize(), gguf_py("iq1_m", t.parts["weight"]))


@pytest.mark.parametrize("name", sorted(GGML))
def test_rows_and_matrices_are_cut_without_decoding(name: str) -> None:
    fmt = GGML[name]
    shape = (3, 4, fmt.block_size)
    parts = {"weight": random_blocks(fmt, 12).reshape(3, 4, -1)}
    if "scale" in fmt.layout(shape):
        parts["scale"] = np.array([1, 2, 3], np.float32)
    t = PackedTensor(fmt, shape, parts)
    whole = t.dequantize()
    assert_same_bits(t.rows(slice(1, 3)).dequantize(), whole[:, 1:3])
    assert_same_bits(t.rows(np.array([3, 0])).dequantize(), whole[:, [3, 0]])
    assert_same_bits(t.matrix(2).dequantize(), whole[2])
    assert_same_bits(t.matrix(1).rows(slice(0, 2)).dequantize(), whole[1, :2])
    assert np.shares_memory(t.rows(slice(1, 3)).parts["weight"], parts["weight"])


@pytest.mark.parametrize("name", sorted(GGML))
def test_blocks_at_odd_addresses_decode_the_same(name: str) -> None:
    """A mapped file aligns tensors to 32 bytes at best; slices of it to one."""
    t = tensor(GGML[name], random_blocks(GGML[name], 64))
    stored = t.parts["weight"]
    moved = np.empty(stored.size + 1, np.uint8)[1:].reshape(stored.shape)
    moved[:] = stored
    moved.flags.writeable = False
    assert_same_bits(PackedTensor(t.format, t.shape, {**t.parts, "weight": moved}).dequantize(), t.dequantize())


def test_a_matrix_larger_than_one_chunk_of_work() -> None:
    t = tensor(GGML["q4_k"], random_blocks(GGML["q4_k"], 2050))
    halves = [t.rows(slice(0, 1000)).dequantize(), t.rows(slice(1000, None)).dequantize()]
    assert_same_bits(t.dequantize(), np.concatenate(halves))


def test_grids_are_the_ones_they_were() -> None:
    tables = [grid(name) for name in ("iq2xxs", "iq2xs", "iq2s", "iq3xxs", "iq3s", "iq1s")]
    assert hashlib.sha256(b"".join(t.tobytes() for t in tables)).hexdigest() == SHA256
