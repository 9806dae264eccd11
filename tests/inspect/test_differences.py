"""Where names and headers differ: said when they do, silent when they agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from localq.checkpoints import open_checkpoint
from localq.inspect.differences import bits_of, differences
from localq.inspect.truth import Share, Truth, read_truth
from localq.labels import read_label
from tests.factories import build, write_gguf, write_hf


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Headers of a tiny llama in float32."""
    with open_checkpoint(write_gguf(build("llama"), tmp_path_factory.mktemp("differ") / "x.gguf", "f32")) as file:
        return read_truth(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    with open_checkpoint(write_hf(build("llama"), Path(tmp_path_factory.mktemp("differ")) / "hf")) as checkpoint:
        return read_truth(checkpoint)


def holding(truth: Truth, **counts: int) -> Truth:
    """`truth` with so many weights of each format."""
    formats = {name: truth.formats[next(iter(truth.formats))]._replace(parameters=n) for name, n in counts.items()}
    assert all(isinstance(share, Share) for share in formats.values())
    return truth._replace(formats=formats, parameters=sum(counts.values()), file_type=None)


def test_a_recipe_that_is_not_inside(gguf: Truth) -> None:
    found = " ".join(differences(read_label("Tiny-Q4_K_M.gguf"), gguf))
    assert "The name says 4 bits; most weights are f32 (32 bits)" in found
    assert differences(read_label("Tiny-F32.gguf"), gguf) == []


def test_what_the_file_calls_itself(gguf: Truth) -> None:
    truth = holding(gguf, q5_k=900, q6_k=100)._replace(file_type="Q5_K_M")
    assert differences(read_label("X-Q5_K_M.gguf"), truth) == []
    first, second = differences(read_label("X-Q4_K_M.gguf"), truth)
    assert first == "The name says Q4_K_M; the file calls itself Q5_K_M, and most weights are q5_k."
    assert "most weights are q5_k (5 bits)" in second
    assert differences(read_label("X-UD-Q4_K_XL.gguf"), truth) == []  # a dynamic recipe may hold anything


def test_awq_that_is_something_else(folder: Truth) -> None:
    name = read_label("org/Foo-AWQ")
    assert differences(name, holding(folder, awq_4bit_g128=10)) == []
    assert differences(name, holding(folder, ct_pack_4bit_g32=10)) == [
        "The name says AWQ; inside, most weights are ct_pack_4bit_g32."
    ]
    assert "nothing packed" in differences(name, folder)[0]
    assert differences(read_label("mlx-community/Foo-4bit-AWQ"), holding(folder, affine_4bit_g64=10)) == []


def test_containers_and_sizes(gguf: Truth, folder: Truth) -> None:
    assert differences(read_label("Foo-GGUF"), folder) == ["The name says gguf; the files are safetensors."]
    big = holding(folder, bf16=27_000_000_000)
    assert differences(read_label("Foo-27B"), big) == [] == differences(read_label("Foo-24B"), big)
    assert differences(read_label("Foo-8B"), big) == ["The name says 8B parameters; the tensors hold 27B."]


@pytest.mark.parametrize(
    ("name", "bits"),
    [("q4_k", 4), ("iq3_xxs", 3), ("tq1_0", None), ("affine_6bit_g64", 6), ("mxfp4_ggml", 4), ("fp8_block", 8),
     ("bnb_nf4_g64", 4), ("bnb_int8", 8), ("bf16", 16), ("gptq_p_5bit_g128", 5), ("nvfp4", 4)],
)  # fmt: skip
def test_bits_by_name(name: str, bits: int | None) -> None:
    assert bits_of(name) == bits
