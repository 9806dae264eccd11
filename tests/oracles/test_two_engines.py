"""Same file, two engines: localq's logits against llama.cpp's, every architecture and every ggml type.

Two comparisons for packed files. The same file in both engines, within the bound that llama.cpp's rounding of
activations causes (noise.py); and localq on the packed file against llama.cpp on a float32 file of the values ggml
decodes from it, where nothing is rounded and 2e-3 of the range is far more than float32 needs (1e-6 is usual; 2e-4
for gemma, whose GELU ggml looks up in a table of float16).
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.factories import ARCHS, build, ggml, stored_tensors, write_gguf, write_gguf_pair
from tests.oracles import first_engine, noise, second_engine
from tests.oracles.golden import IDS
from tests.oracles.mixtures import POOLS, mixture

EXACT = 2e-3  # of the logits' range

pytestmark = pytest.mark.skipif(
    not ggml.available(), reason="llama-cpp-python (extra `llama`) is the second engine and ggml's quantiser"
)


def shares(found: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Absolute differences as shares of the range of the right logits."""
    assert found.shape == right.shape
    assert np.isfinite(found).all()
    return np.abs(found - right) / (right.max() - right.min())


@pytest.mark.parametrize("arch", ARCHS)
def test_float32_file(arch: str, tmp_path: Path) -> None:
    path = write_gguf(build(arch), tmp_path / "f32.gguf")
    assert shares(first_engine.logits(path, IDS), second_engine.logits(path, IDS)).max() < EXACT


@pytest.mark.parametrize("arch", ARCHS)
def test_types_mixed_inside_a_layer(arch: str, tmp_path: Path) -> None:
    packed, floats = write_gguf_pair(build(arch), tmp_path, mixture(arch))
    found = first_engine.logits(packed, IDS)
    assert shares(found, second_engine.logits(floats, IDS)).max() < EXACT
    rough = shares(found, second_engine.logits(packed, IDS))
    assert rough.mean() < noise.MIXTURE_MEAN
    assert np.quantile(rough.max(axis=1), 0.9) < noise.MIXTURE_NINE_OF_TEN


@pytest.mark.parametrize("arch", ["phi3_longrope", "phi4"])
def test_the_context_chooses_the_rope_factors(arch: str, tmp_path: Path) -> None:
    """Within 512 positions, the original context, the short factors; the long ones for any context beyond it."""
    path = write_gguf(build(arch), tmp_path / "f32.gguf")
    found = {context: first_engine.logits(path, IDS, context) for context in (512, 1024)}
    for context, logits in found.items():
        assert shares(logits, second_engine.logits(path, IDS, context)).max() < EXACT
    assert shares(found[512], found[1024]).max() > 0.1


@pytest.mark.parametrize("arch", ARCHS)
def test_token_by_token_beyond_the_window(arch: str, tmp_path: Path) -> None:
    """Caches: 24 tokens at once, then 36 greedy steps, far beyond the sliding windows of 8."""
    path = write_gguf(build(arch), tmp_path / "f32.gguf")
    found = first_engine.greedy(path, IDS, 36, context=64)
    right = second_engine.greedy(path, IDS, 36, n_ctx=64)
    same = next((i for i in range(36) if found[i] != right[i]), 36)
    if same < 36:  # only two tokens that the second engine itself cannot tell apart may part the ways
        last = second_engine.logits(path, [*IDS, *right[:same]])[-1]
        assert last[right[same]] - last[found[same]] < EXACT * (last.max() - last.min())
    assert same >= 12


@pytest.mark.parametrize("kind", noise.MEASURED)
def test_every_type(kind: str, tmp_path: Path) -> None:
    # llama.cpp has no second scale for nvfp4 embeddings; the head it has (output.scale)
    types = {"token_embd.weight": "f16", "*": kind} if kind == "nvfp4" else kind
    packed, floats = write_gguf_pair(build("llama"), tmp_path, types)
    found = first_engine.logits(packed, IDS)
    assert shares(found, second_engine.logits(floats, IDS)).max() < EXACT
    rough = shares(found, second_engine.logits(packed, IDS))
    mean, largest = noise.MEASURED[kind]
    assert rough.mean() < noise.MARGIN * mean
    assert rough.max() < noise.MARGIN * largest


def test_the_set_holds_every_type() -> None:
    assert set(noise.MEASURED) == set(ggml.TYPES) - {"f32"}
    dealt = set()
    for arch in ARCHS:
        names = {name: w.shape for name, w in _matrices(arch).items()}
        dealt |= {mixture(arch)(name, shape) for name, shape in names.items()}
    assert dealt >= set(ggml.PACKED) | {"f16", "bf16"}
    assert set(POOLS) == set(ARCHS)


def _matrices(arch: str) -> dict[str, NDArray[np.float32]]:
    return {n: data for n, (_, shape, data) in stored_tensors(build(arch), "f32").items() if len(shape) > 1}


def test_one_wrong_row_is_seen(tmp_path: Path) -> None:
    """The comparison itself: logits of a file with two rows of one matrix exchanged are refused."""
    model = build("llama")
    right = second_engine.logits(write_gguf(model, tmp_path / "a.gguf"), IDS)
    name = "model.layers.1.mlp.up_proj.weight"
    rows = np.arange(len(model.weights[name]))
    rows[[0, zlib.crc32(b"row") % 500 + 1]] = rows[[zlib.crc32(b"row") % 500 + 1, 0]]
    model.weights[name] = model.weights[name][rows]
    found = first_engine.logits(write_gguf(model, tmp_path / "b.gguf"), IDS)
    assert shares(found, right).max() > EXACT
