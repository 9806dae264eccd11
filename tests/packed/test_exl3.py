"""EXL3 against its package's own decoder, run on the CPU (tools/fixtures/exl3.py), bit for bit at every width.

Beside it `decoded` follows exllamav3's `dq` (one 16-bit window of a tile's stream), `decode_3inst` (three formulas),
the shuffle of `reconstruct_kernel` and `get_weight_tensor`, with Python's integers and a Hadamard matrix.
"""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError
from localq.formats import find
from tests.packed.fixtures import NAME, digest, read, stored, write

PROVES = {"exl3"}
CONFIG = {"quant_method": "exl3", "version": "0.0.1", "bits": 4.0}
MARK = {"mcg": np.array(0xCBAC1FED, np.uint32).view(np.int32), "mul1": np.array(0x83DCD12D, np.uint32).view(np.int32)}


@cache
def peers() -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """The arrays of the fixture, and bits, book and digest of every case."""
    return stored("exl3.safetensors")


@pytest.mark.parametrize("case", peers()[1])
def test_as_the_package_decodes(tmp_path: Path, case: str) -> None:
    tensors, cases = peers()
    bits, book = cases[case]["bits"], cases[case]["book"]
    vectors = ("su", "sv") if case == "3" else ("suh", "svh")
    parts = {"trellis": np.ascontiguousarray(tensors["trellis"][..., : int(16 * bits)])}
    parts |= {name: tensors[name] for name in vectors} | ({book: MARK[book]} if book else {})
    t = read(tmp_path, parts, CONFIG)
    assert find(t.format.name) is t.format and t.format.bits == bits and t.shape == (256, 128)
    inner = t.format.tiles(t.parts["trellis"])  # type: ignore[attr-defined]
    assert digest(inner) == cases[case]["inner"]
    whole = t.dequantize()
    want = tensors[f"rows.{case}"]
    np.testing.assert_allclose(whole[[1, -2]], want, atol=2e-6 * np.abs(want).max(), rtol=0)  # order of float32 sums


def half(bits: int) -> float:
    return float(struct.unpack("<e", struct.pack("<H", bits))[0])


def value(state: int, book: str) -> float:
    if book == "mul1":
        x = state * 0x83DCD12D % 2**32
        total = half(0x6400 + sum(x >> shift & 255 for shift in (0, 8, 16, 24)))
        return float(np.float16(total * half(0x1EEE) + half(0xC931)))
    x = (state * 0xCBAC1FED if book == "mcg" else state * 89226354 + 64248484) % 2**32
    x = (x & 0x8FFF8FFF) ^ 0x3B603B60
    return float(np.float16(half(x & 0xFFFF) + half(x >> 16)))


def window(words: list[int], i: int, bits: int) -> int:
    begin = i * bits + bits - 16 + 256 * bits
    end = begin + 16
    last = (end - 1) // 32
    a, b = words[begin // 32 % (8 * bits)], words[last % (8 * bits)]
    return (a << 32 | b) >> ((last + 1) * 32 - end) & 0xFFFF


def tile(words: list[int], bits: int, book: str) -> np.ndarray:
    """Lane by lane: eight values each, four of which go to column lane / 4, four to the column 8 further."""
    out = np.zeros((16, 16))
    for lane in range(32):
        row, column = lane % 4 * 2, lane // 4
        places = [
            (row, 0),
            (row + 1, 0),
            (row + 8, 0),
            (row + 9, 0),
            (row, 8),
            (row + 1, 8),
            (row + 8, 8),
            (row + 9, 8),
        ]
        for j, (r, c) in enumerate(places):
            out[r, column + c] = value(window(words, lane * 8 + j, bits), book)
    return out


def decoded(parts: dict[str, np.ndarray], bits: int, book: str) -> np.ndarray:
    trellis = parts["trellis"]
    rows, columns = trellis.shape[:2]
    inner = np.zeros((rows * 16, columns * 16))
    for r in range(rows):
        for c in range(columns):
            words = [int(w) for w in trellis[r, c].view(np.uint32)]
            inner[r * 16 : r * 16 + 16, c * 16 : c * 16 + 16] = tile(words, bits, book)
    hadamard = np.array([[1.0]])
    while len(hadamard) < 128:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    left = np.kron(np.eye(rows // 8), hadamard / np.sqrt(128))
    right = np.kron(np.eye(columns // 8), hadamard / np.sqrt(128))
    su, sv = (vector(parts, name) for name in ("su", "sv"))
    return ((left @ inner) * su[:, None] @ right * sv).T


def vector(parts: dict[str, np.ndarray], name: str) -> np.ndarray:
    if f"{name}h" in parts:
        return parts[f"{name}h"].astype(float)
    return np.array(
        [-1.0 if int(word) >> bit & 1 else 1.0 for word in parts[name].view(np.uint16) for bit in range(16)]
    )


def drawn(bits: int, book: str, signs: bool = False, out: int = 128, width: int = 128) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(bits)
    parts = {"trellis": rng.integers(-(1 << 15), 1 << 15, (width // 16, out // 16, 16 * bits), np.int16)}
    for name, length in (("su", width), ("sv", out)):
        if signs:
            parts[name] = rng.integers(-(1 << 15), 1 << 15, length // 16, np.int16)
        else:
            parts[f"{name}h"] = (rng.choice([-1, 1], length) * rng.uniform(0.01, 0.1, length)).astype(np.float16)
    return parts | ({book: MARK[book]} if book else {})


CASES = [(bits, book, False) for bits, book in zip(range(1, 9), ["", "mcg", "mul1"] * 3, strict=False)]


@pytest.mark.parametrize(("bits", "book", "signs"), [*CASES, (4, "mul1", False), (3, "", True), (2, "mcg", False)])
def test_as_the_published_kernels_decode(tmp_path: Path, bits: int, book: str, signs: bool) -> None:
    parts = drawn(bits, book, signs)
    t = read(tmp_path, parts, CONFIG)
    assert find(t.format.name) is t.format and t.format.bits == bits
    want = decoded(parts, bits, book)
    np.testing.assert_allclose(t.dequantize(), want, atol=2e-6 * np.abs(want).max(), rtol=0)


def test_rows_of_a_matrix_that_is_not_square(tmp_path: Path) -> None:
    t = read(tmp_path, drawn(3, "mcg", out=384, width=256), CONFIG)
    assert t.shape == (384, 256)
    whole = t.dequantize()
    for index in (slice(0, 8), slice(100, 300), slice(None, None, 7), np.array([383, 0, 5, 5])):
        np.testing.assert_array_equal(t.rows(index).dequantize(), whole[index])
    assert t.format.join_rows([t, t]) is None


def test_gaussian_values() -> None:
    """The formulas were made to look like a standard Gaussian (mul1) or one of deviation 1.24."""
    from localq.formats.exl3 import values_of

    for book, deviation in (("", 1.2437), ("mcg", 1.2441), ("mul1", 1.0003)):
        assert np.std(values_of(book)) == pytest.approx(deviation, abs=1e-3)
        assert abs(np.mean(values_of(book))) < 3e-3


GOOD = drawn(2, "mcg")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trellis": np.zeros((8, 8, 40), np.int16)}, "of 2.5 bits, which mul1 alone has"),
        ({"suh": None}, "lacks its part 'suh'"),
        ({"mul1": MARK["mul1"]}, "some exclude each other"),
        ({"su": np.zeros(8, np.int16)}, "some exclude each other"),
        ({"trellis": GOOD["trellis"][:, :, :-1]}, r"\(8, 8, 31\); expected int16 \[in / 16, out / 16, 16 \* bits\]"),
        ({"trellis": GOOD["trellis"][:7]}, "no multiple of exl3_2bit_mcg's block of 128"),
        ({"trellis": GOOD["trellis"].astype(np.int32)}, "int32"),
        ({"svh": np.full(128, np.inf, np.float16)}, "inf; expected finite"),
    ],
)
def test_damage(tmp_path: Path, change: dict[str, np.ndarray | None], said: str) -> None:
    write(tmp_path, {n: a for n, a in {**GOOD, **change}.items() if a is not None}, CONFIG)
    with pytest.raises(CheckpointError, match=said) as error:
        open_checkpoint(tmp_path)[f"{NAME}.weight"]
    assert NAME in str(error.value)
