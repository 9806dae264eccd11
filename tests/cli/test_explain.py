"""`localq explain` and `localq formats`: facts against gguf-py, config files and the registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Runner
from tests.factories import build, ggml, write_gguf

needs_ggml = pytest.mark.skipif(not ggml.available(), reason="llama-cpp-python (ggml) is not installed")


@needs_ggml
def test_a_gguf_against_gguf_py(localq: Runner, tmp_path: Path) -> None:
    """Oracle: gguf-py's reader counts tensors, weights and bytes of the same file."""
    import gguf

    mixed = {"*attn_v*": "q6_k", "*ffn_down*": "q5_k", "*": "q4_k"}
    file = write_gguf(build("llama"), tmp_path / "mixed.gguf", mixed)
    code, out, _ = localq("explain", file, "--json")
    told = json.loads(out)
    reader = gguf.GGUFReader(file)
    assert code == 0
    assert told["parameters"] == sum(int(t.n_elements) for t in reader.tensors)
    assert told["nbytes"] == sum(int(t.n_bytes) for t in reader.tensors)
    counts: dict[str, int] = {}
    for tensor in reader.tensors:
        name = tensor.tensor_type.name.lower()
        counts[name] = counts.get(name, 0) + 1
    assert {name: share["tensors"] for name, share in told["formats"].items()} == counts
    assert told["bits_per_weight"] == pytest.approx(8 * told["nbytes"] / told["parameters"], abs=1e-4)
    assert told["formats"]["q4_k"]["bits_per_weight"] == 4.5


def test_the_same_model_in_two_containers_says_the_same(localq: Runner, gguf_file: Path, folder: Path) -> None:
    code, out, _ = localq("explain", gguf_file, folder, "--json")
    one, other = json.loads(out)
    assert code == 0
    for key in ("architecture", "parameters", "layers", "hidden_size", "heads", "kv_heads", "context", "vocabulary"):
        assert one[key] == other[key], key
    config = json.loads((folder / "config.json").read_text())
    assert one["context"] == config["max_position_embeddings"] and one["layers"] == config["num_hidden_layers"]


def test_words(localq: Runner, folder: Path) -> None:
    code, out, err = localq("explain", folder)
    assert code == 0 and not err
    assert "architecture   llama" in out and "chat template  yes" in out and "32.00 (real" in out


def test_a_bad_path_among_good_ones(localq: Runner, folder: Path) -> None:
    code, out, err = localq("explain", folder, "/no/such.gguf", folder)
    assert code == 3 and out.count("architecture") == 2 and "There is no folder" in err


def test_a_damaged_file_is_code_5(localq: Runner, gguf_file: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.gguf"
    short.write_bytes(gguf_file.read_bytes()[:1000])
    code, out, err = localq("explain", short)
    assert (code, out) == (5, "") and err.startswith("localq: ")


def test_a_folder_without_a_model(localq: Runner, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    code, out, err = localq("explain", tmp_path)
    assert code in (2, 3) and not out and len(err.splitlines()) <= 2


def test_real_files(localq: Runner, data_dir: Path) -> None:
    code, out, _ = localq("explain", data_dir / "models/tinychat-gguf/tinychat-Q4_K_M.gguf", "--json")
    told = json.loads(out)
    assert code == 0 and told["file_type"] == "Q4_K_M" and told["parameters"] == 3672320
    assert list(told["formats"]) == ["q4_k", "q6_k", "f32"]


def test_a_vocabulary_without_weights(localq: Runner, data_dir: Path) -> None:
    code, out, _ = localq("explain", data_dir / "models/ggml-vocab/ggml-vocab-gpt-2.gguf")
    assert code == 0 and "a vocabulary without weights" in out and "bits/weight" not in out


def test_formats_shows_the_whole_registry(localq: Runner) -> None:
    from localq.formats import FORMATS

    code, out, _ = localq("formats", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0 and set(rows) == set(FORMATS)
    assert rows["q4_k"]["bits_per_weight"] == 4.5 and rows["q4_k"]["containers"] == ["gguf"]
    assert rows["affine_4bit_g64"]["cpu"] == "native affine 4-bit g64"
    assert rows["f32"]["metal"] == "native float" and rows["q6_k"]["cpu"] == "reference"
    _, table, _ = localq("formats")
    assert all(f"\n{name} " in table for name in FORMATS)


def test_only_formats_that_write_say_so(localq: Runner) -> None:
    """ "writes" is asked of the format itself: packing must work, not be promised."""
    import numpy as np

    from localq.errors import LocalqError
    from localq.formats import FORMATS

    for row in json.loads(localq("formats", "--json").out):
        weights = np.ones((4, 1024), np.float32)
        if row["writes"]:
            assert FORMATS[row["name"]].quantize(weights).shape == weights.shape
        else:
            with pytest.raises(LocalqError, match="does not write"):
                FORMATS[row["name"]].quantize(weights)
