"""Rules for kernel text that the executor cannot see: what Apple's and NVIDIA's compilers would stumble over."""

from __future__ import annotations

import re

import pytest

from localq_metal import source
from tests.metal.harness import MLX_INCLUDE

TEXTS = {f"{name}.metal": source.body(name) for name in source.PARAMETERS}
AROUND = ("several", "hadamard", "fused", "fused_vector", "fused_few", "fused_end", "turned", "norm_add", "route")
TEXTS |= {f"{name}.metal": source.body(name) for name in AROUND}
TEXTS |= {f"{stem}.h": source.decoder(stem) for stem in source.stems()}
CALL = re.compile(r"\b([A-Za-z_]\w*)\s*\(")
OURS = {
    "decode16",
    "point",
    "level",
    "norm",
    "half_of_scale",
    "small",
    "power",
    "rounded",
    "value",
    "outlier",
    "indexed",
    "dot",
    "code",
    "T",
    "if",
    "for",
}


@pytest.fixture(params=sorted(TEXTS))
def text(request: pytest.FixtureRequest) -> str:
    return re.sub(r"//[^\n]*", "", TEXTS[request.param])


def test_float_literals_are_floats(text: str) -> None:
    """A literal without f is a double for CUDA."""
    assert not re.findall(r"\b\d+\.\d*(?![\df])|\bdouble\b", text)


def test_no_word_that_cuda_lacks_or_that_hides_an_address_space(text: str) -> None:
    assert not re.findall(
        r"#define|\bauto\b|\blambda\b|\b(?:float|half|uint)[234]\b|\bpacked_\w+|threadgroup \w+\s*\*", text
    )


def test_every_function_is_one_that_mlx_calls_too(text: str) -> None:
    """Its shipped Metal sources are known to compile on a Mac."""
    headers = MLX_INCLUDE / "mlx/backend/metal/kernels"
    if not headers.is_dir():
        pytest.skip("this build of MLX ships no Metal headers")
    known = {word for file in headers.rglob("*.h") for word in re.findall(r"\w+", file.read_text(encoding="utf-8"))}
    assert {name for name in CALL.findall(text)} - known <= OURS


def test_helpers_take_pointers_to_device_memory_only(text: str) -> None:
    """Inputs of fewer than 8 elements lie in `constant` memory; packed weights and activations never are so few."""
    for pointer in re.findall(r"const\s+(?:\w+\s+)*\w+\s*\*", text):
        assert "device" in pointer, pointer
