"""The registry: every format is here, tells the truth about itself, and is compared with somebody else's decoder."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from localq.errors import CheckpointError
from localq.formats import FORMATS
from localq.formats.base import Format, GGMLFormat, PackedTensor
from localq.formats.ggml_types import GGML_TYPES
from tests import packed
from tests.formats import test_ggml, test_mlx

FLOATS = {"f32", "f16", "bf16"}
PLAIN = FLOATS | {"i8", "i16", "i32", "i64", "f64"}  # ggml types of one number a block
SHAPE = (4, 1024)
CORE = {name for name, fmt in FORMATS.items() if fmt.family in ("float", "ggml", "mlx")}
# their tables and vectors are a larger part of a small matrix
TABLES = {"aqlm", "vptq", "exl3", "quip", "spqr", "paroquant"}
EXAMPLES = {fmt.name: fmt for family in FORMATS.values() for fmt in family.examples()}


def dtype(name: str) -> np.dtype:
    first = name.split("|")[0]
    return np.dtype(getattr(ml_dtypes, first, first))


def shape_of(fmt: type[Format]) -> tuple[int, ...]:
    """A small matrix of rows the format can pack."""
    return (max(SHAPE[0], fmt.row_multiple), SHAPE[1])


def blank(fmt: type[Format], shape: tuple[int, ...] = SHAPE) -> dict[str, np.ndarray]:
    """Zeros where they are weights, else a tensor the format draws itself."""
    if fmt.name not in CORE:
        return dict(fmt.sample(shape, np.random.default_rng(0)).parts)
    return {name: np.zeros(part.shape, dtype(part.dtype)) for name, part in fmt.layout(shape).items()}


def test_ggml_types_and_formats_agree() -> None:
    quantised = {kind.name for kind in GGML_TYPES.values()} - PLAIN
    assert len(quantised) == 25
    assert {name for name, fmt in FORMATS.items() if fmt.family == "ggml"} == quantised
    assert {name for name, fmt in FORMATS.items() if issubclass(fmt, GGMLFormat)} == quantised


def test_every_format_is_compared_with_an_oracle() -> None:
    """A format of a new family, or a ggml type that neither gguf-py nor ggml decodes, fails here or there."""
    assert set(test_ggml.GGML) | set(test_mlx.MLX) | FLOATS == CORE
    found = [importlib.import_module(f"tests.packed.{m.name}") for m in pkgutil.iter_modules(packed.__path__)]
    assert set().union(*(getattr(module, "PROVES", ()) for module in found)) == set(FORMATS) - CORE
    assert set(test_ggml.GGML) - set(test_ggml.IN_GGUF_PY) == {"q1_0", "q2_0"}
    without = {name for name in test_ggml.GGML if "gguf-py" not in FORMATS[name].checked}
    assert without == {"q1_0", "q2_0"} and all(fmt.checked for fmt in FORMATS.values())


@pytest.mark.parametrize("name", sorted(set(EXAMPLES) - CORE))
def test_facts_of_packed_formats(name: str) -> None:
    fmt = EXAMPLES[name]
    assert fmt.family and fmt.bits > 0 and fmt.scale and fmt.containers == ("safetensors",) and fmt.suffixes
    assert sys.modules[fmt.__module__].__doc__
    t = fmt.sample((256, 4096), np.random.default_rng(0))
    part = 0.2 if fmt.family in TABLES else 0.02
    assert t.format is fmt and t.bits_per_weight == pytest.approx(fmt.bits_per_weight, rel=part)
    small = fmt.sample((128, 1024), np.random.default_rng(0))
    assert small.dequantize().shape == (128, 1024) and small.dequantize().dtype == np.float32
    held = fmt.to_native(small) if fmt.has_native(small) else None
    if fmt.same_size:
        assert (
            held is not None
            and sum(a.nbytes for a in vars(held).values() if hasattr(a, "nbytes")) < 1.15 * small.nbytes
        )
    for index in (slice(32, 64), slice(7, 40), np.array([3, 90, 3])):
        np.testing.assert_array_equal(small.rows(index).dequantize(), small.dequantize()[index])


@pytest.mark.parametrize("name", sorted(CORE))
def test_facts(name: str) -> None:
    fmt = FORMATS[name]
    assert fmt.name == name and fmt.family in ("float", "ggml", "mlx") and fmt.bits > 0 and fmt.scale
    assert set(fmt.containers) <= {"gguf", "mlx", "safetensors"} and fmt.containers
    assert fmt.block_size % fmt.group_size == 0
    t = PackedTensor(fmt, SHAPE, blank(fmt))
    scale_bits = 32 if "scale" in fmt.layout(SHAPE) else 0  # nvfp4_ggml's float32 a matrix is not counted
    assert t.bits_per_weight == pytest.approx(fmt.bits_per_weight + scale_bits / t.size)
    assert fmt.bits <= fmt.bits_per_weight
    assert t.dequantize().shape == SHAPE and t.dequantize().dtype == np.float32
    assert fmt.__module__ != "localq.formats.base" and sys.modules[fmt.__module__].__doc__


@pytest.mark.parametrize("name", sorted(FLOATS))
def test_floats_decode_as_gguf_py_and_numpy(name: str) -> None:
    fmt = FORMATS[name]
    kind = dtype(fmt.layout(SHAPE)["weight"].dtype)
    bits = np.arange(1 << 16, dtype=np.uint16)
    stored = bits.view(kind) if kind.itemsize == 2 else np.random.default_rng(0).bytes(1 << 16)
    stored = np.frombuffer(stored, kind) if isinstance(stored, bytes) else stored
    t = PackedTensor(fmt, (4, stored.size // 4), {"weight": stored.reshape(4, -1)})
    test_ggml.assert_same_bits(t.dequantize(), stored.reshape(4, -1).astype(np.float32))
    test_ggml.assert_same_bits(
        t.dequantize(), test_ggml.gguf_py(name, t.parts["weight"].view(np.uint8)).reshape(t.shape)
    )
    np.testing.assert_array_equal(
        t.rows(slice(1, 2)).parts["weight"].view(np.uint8), stored.reshape(4, -1)[1:2].view(np.uint8)
    )


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_parts_that_break_the_layout_are_refused_with_both_numbers(name: str) -> None:
    fmt = EXAMPLES[name]
    shape = shape_of(fmt)
    for key, part in fmt.layout(shape).items():
        parts = blank(fmt, shape)
        del parts[key]
        with pytest.raises(CheckpointError, match=f"lacks its part '{key}'"):
            PackedTensor(fmt, shape, parts)
        with pytest.raises(CheckpointError) as error:
            PackedTensor(fmt, shape, {**parts, key: np.zeros((*part.shape, 3), dtype(part.dtype))})
        assert str((*part.shape, 3)) in str(error.value) and str(part.shape) in str(error.value)
        with pytest.raises(CheckpointError) as error:
            PackedTensor(fmt, shape, {**parts, key: np.zeros(part.shape, np.complex64)})
        assert "complex64" in str(error.value) and part.dtype in str(error.value)


@pytest.mark.parametrize("name", sorted(n for n, fmt in EXAMPLES.items() if n not in FLOATS and fmt.block_size > 1))
def test_a_row_of_broken_blocks_is_refused_with_both_numbers(name: str) -> None:
    fmt = EXAMPLES[name]
    for shape in ((3, fmt.block_size + 1), ()):
        with pytest.raises(CheckpointError) as error:
            fmt.layout(shape)
        assert str(shape[-1:]) in str(error.value) and str(fmt.block_size) in str(error.value)


def test_scales_and_biases_of_two_dtypes_are_refused() -> None:
    fmt = FORMATS["affine_4bit_g64"]
    parts = blank(fmt)
    parts["biases"] = parts["biases"].astype(np.float16 if parts["scales"].dtype == np.float32 else np.float32)
    with pytest.raises(CheckpointError, match="float16.*float32|float32.*float16"):
        PackedTensor(fmt, SHAPE, parts)


def test_a_name_is_defined_once() -> None:
    before = FORMATS["q4_0"]
    with pytest.raises(TypeError, match="'q4_0' is defined twice: Q4_0 and Again"):

        class Again(Format, name="q4_0"):
            pass

    assert FORMATS["q4_0"] is before


def test_an_invented_fact_is_refused() -> None:
    with pytest.raises(TypeError, match="'colour' is not a fact"):

        class Painted(Format, name="painted", colour="red"):
            pass

    assert "painted" not in FORMATS


def test_formats_import_no_mlx_and_no_gguf() -> None:
    code = (
        "import sys; from localq.formats import FORMATS as f; print(len(f), *{'mlx', 'gguf', 'torch'} & {*sys.modules})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out == [str(len(FORMATS))]
