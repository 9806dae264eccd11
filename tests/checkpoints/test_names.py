"""GGUF names and value rules: gguf-py's name map and llama.cpp's row order (tests/factories/layout.py) as oracles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from localq.checkpoints.architectures import SUPPORTED, Architecture, Name
from localq.checkpoints.detect import open_checkpoint
from localq.checkpoints.gguf import GGUFCheckpoint
from localq.errors import CheckpointError
from tests.factories import ARCHS, TinyModel, build, ggml, gguf_tensors, write_gguf
from tests.factories.layout import split_gpt_oss_experts
from tests.factories.metadata import ARCHITECTURE

# Architectures of tests/factories/more.py take their names from gguf-py's map: test_more_architectures compares them
BY_HAND = sorted(set(SUPPORTED) & set(ARCHITECTURE.values()))
ENTRIES = {
    f"{stem}-{entry.model_type}": (stem, entry)
    for stem in BY_HAND
    for first in (SUPPORTED[stem],)
    for entry in (first, first.with_experts)
    if entry is not None
}
PACKED = "q8_0"


def hf_stem(name: str) -> str:
    """A table's Hugging Face name as the converter hands it to gguf-py, experts already stacked."""
    name = re.sub(r"\.(weight|bias)$", "", name.replace("{i}", "0"))
    name = re.sub(r"model\.(layers\.0\.)block_sparse_moe\.experts\.\{e\}", r"\1feed_forward.experts", name)
    return name.replace(".{e}", "")


@pytest.mark.parametrize("which", ENTRIES)
def test_every_name_is_gguf_py_s(which: str) -> None:
    stem, entry = ENTRIES[which]
    arch = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[stem]
    names = gguf.get_tensor_name_map(arch, 1)
    for stored, target in entry.names.items():
        hf = target.hf if isinstance(target, Name) else target
        wanted = re.sub(r"\.(weight|bias)$", "", stored.replace("{i}", "0"))
        if stored == "output.weight" and names.get_name("lm_head") is None:
            continue
        assert names.get_name(hf_stem(hf)) == wanted, f"{hf} -> {stored}"


@pytest.mark.parametrize("stem", BY_HAND)
def test_every_tensor_gguf_py_lists_is_known(stem: str) -> None:
    arch = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[stem]
    entries: list[Architecture] = [e for s, e in ENTRIES.values() if s == stem]
    known = {
        re.sub(r"\.(weight|bias)$", "", n.replace("{i}", "{bid}")) for e in entries for n in (*e.names, *e.consumed)
    }
    # Listed by gguf-py, in no file: the converter skips attn_rot_embd (MODEL_TENSOR_SKIP), the qwens take no rope
    # factors, phi3 keeps q, k and v fused
    unused = {"llama": {"blk.{bid}.attn_rot_embd"}, "phi3": {f"blk.{{bid}}.attn_{x}" for x in "qkv"}}
    unused |= {"qwen2": {"rope_freqs"}, "qwen3": {"rope_freqs"}}
    listed = {gguf.TENSOR_NAMES[t] for t in gguf.MODEL_TENSORS[arch]}
    assert listed - known == unused.get(stem, set())


def expected(model: TinyModel) -> dict[str, np.ndarray]:
    """The Hugging Face tensors, gpt-oss's experts apart as documented in names.py."""
    out = {}
    for name, w in model.weights.items():
        layer, found, rest = name.partition(".mlp.experts.")
        if model.config["model_type"] == "gpt_oss" and found:
            for stored, half in split_gpt_oss_experts("mlp.experts." + rest, w):
                which, kind = re.fullmatch(r"ffn_(\w+)_exps\.(\w+)", stored).groups()
                out[f"{layer}.mlp.experts.{which}_proj.{kind}"] = half
        elif model.config["model_type"].startswith("gemma") and name.endswith("norm.weight"):
            # The converter adds 1 in float32; what that rounds away is not in the file
            out[name] = (w + np.float32(1)) - np.float32(1)
        else:
            out[name] = w
    return out


@pytest.mark.parametrize("arch", ARCHS)
def test_float_tensors_come_out_as_hugging_face_has_them(arch: str, tmp_path: Path) -> None:
    model = build(arch)
    with GGUFCheckpoint(write_gguf(model, tmp_path / "m.gguf")) as ckpt:
        want = expected(model)
        assert set(ckpt) == set(want)
        for name, w in want.items():
            assert ckpt[name].shape == w.shape, name
            assert ckpt[name].dequantize().tobytes() == w.tobytes(), name
            assert ckpt.specs[name].nbytes == ckpt[name].nbytes == w.nbytes, name


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("kind", ["q8_0", "q4_k", "mxfp4"])
def test_packed_rows_are_those_ggml_makes_of_hugging_face_rows(arch: str, kind: str, tmp_path: Path) -> None:
    """ggml packs row by row, so packing before or after the converter's reordering gives the same rows."""
    if not ggml.available():
        pytest.skip("needs llama-cpp-python's libggml")
    model = build(arch)
    with GGUFCheckpoint(write_gguf(model, tmp_path / "m.gguf", kind)) as ckpt:
        want, packed = expected(model), 0
        for name, w in want.items():
            t = ckpt[name]
            if t.format.name.removesuffix("_ggml") == kind:
                packed += 1
                assert t.parts["weight"].tobytes() == ggml.quantize(w, kind).tobytes(), name
                assert ckpt.specs[name].nbytes == t.nbytes, name
        assert packed >= 4 * model.config["num_hidden_layers"]


def restored(tmp_path: Path, model: TinyModel, changed: Mapping[str, Any], missing: set[str]) -> GGUFCheckpoint:
    """The model's GGUF with tensors replaced or added (float32) and removed."""
    from tests.factories.metadata import add_metadata

    path = tmp_path / "changed.gguf"
    writer = gguf.GGUFWriter(str(path), ARCHITECTURE[model.config["model_type"]])
    add_metadata(writer, model)
    for name, w in {**gguf_tensors(model), **changed}.items():
        if name not in missing:
            writer.add_tensor(name, np.ascontiguousarray(w))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GGUFCheckpoint(path)


def assert_equal(ckpt: GGUFCheckpoint, model: TinyModel) -> None:
    want = expected(model)
    assert set(ckpt) == set(want)
    for name, w in want.items():
        assert ckpt[name].dequantize().tobytes() == w.tobytes(), name
        assert ckpt.specs[name].nbytes == w.nbytes, name


@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3", "gemma3", "gpt_oss"])
def test_fused_qkv_is_cut(arch: str, tmp_path: Path) -> None:
    model = build(arch)
    stored, changed, missing = gguf_tensors(model), {}, set()
    for i in range(model.config["num_hidden_layers"]):
        for kind in ("weight", "bias"):
            parts = [f"blk.{i}.attn_{x}.{kind}" for x in "qkv"]
            if parts[0] in stored:
                changed[f"blk.{i}.attn_qkv.{kind}"] = np.concatenate([stored[p] for p in parts])
                missing.update(parts)
    assert_equal(restored(tmp_path, model, changed, missing), model)


@pytest.mark.parametrize("arch", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_fused_gate_up_experts_are_cut(arch: str, tmp_path: Path) -> None:
    model = build(arch)
    stored, changed, missing = gguf_tensors(model), {}, set()
    for i in range(model.config["num_hidden_layers"]):
        for kind in ("weight", "bias"):
            parts = [f"blk.{i}.ffn_{x}_exps.{kind}" for x in ("gate", "up")]
            if parts[0] in stored:
                changed[f"blk.{i}.ffn_gate_up_exps.{kind}"] = np.concatenate([stored[p] for p in parts], axis=1)
                missing.update(parts)
    assert changed
    assert_equal(restored(tmp_path, model, changed, missing), model)


def test_mixtral_s_first_form_has_a_tensor_per_expert(tmp_path: Path) -> None:
    model = build("mixtral")
    stored, changed, missing = gguf_tensors(model), {}, set()
    for name, w in stored.items():
        if "_exps." in name:
            missing.add(name)
            changed.update({name.replace("_exps.", f".{e}."): w[e] for e in range(len(w))})
    assert_equal(restored(tmp_path, model, changed, missing), model)


def test_permuted_biases_are_restored(tmp_path: Path) -> None:
    """llama files with attention biases (InternLM and kin): q and k move with their rows."""
    model = build("llama")
    rng = np.random.default_rng(1)
    changed, biases = {}, {}
    for i in range(model.config["num_hidden_layers"]):
        for x, hf in (("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj"), ("output", "o_proj")):
            rows = gguf_tensors(model)[f"blk.{i}.attn_{x}.weight"].shape[0]
            bias = rng.standard_normal(rows, dtype=np.float32)
            biases[f"model.layers.{i}.self_attn.{hf}.bias"] = bias
            heads = {"q": model.config["num_attention_heads"], "k": model.config["num_key_value_heads"]}.get(x)
            moved = bias if heads is None else bias.reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1)
            changed[f"blk.{i}.attn_{x}.bias"] = moved
    ckpt = restored(tmp_path, model, changed, set())
    assert ckpt.config["attention_bias"] is True and ckpt.config["mlp_bias"] is False
    for name, bias in biases.items():
        assert np.array_equal(ckpt[name].dequantize(), bias), name
    some = restored(tmp_path, model, changed, {"blk.1.attn_output.bias"})
    assert "'blk.1.attn_output.bias'" in some.unsupported


@pytest.mark.parametrize("tied", [True, False])
def test_tied_head(tied: bool, tmp_path: Path) -> None:
    with GGUFCheckpoint(write_gguf(build("qwen2", tie_word_embeddings=tied), tmp_path / "m.gguf")) as ckpt:
        assert ckpt.config["tie_word_embeddings"] is tied
        assert ("lm_head.weight" in ckpt) is not tied


def test_a_head_beside_the_embedding_is_kept(tmp_path: Path) -> None:
    model = build("llama3")
    head = np.ones((model.config["vocab_size"], model.config["hidden_size"]), np.float32)
    ckpt = restored(tmp_path, model, {"output.weight": head}, set())
    assert ckpt.config["tie_word_embeddings"] is False
    assert np.array_equal(ckpt["lm_head.weight"].dequantize(), head)


def test_an_expert_is_a_view_of_its_stack(tmp_path: Path) -> None:
    with GGUFCheckpoint(write_gguf(build("qwen3_moe"), tmp_path / "m.gguf", PACKED)) as ckpt:
        first, second = (ckpt[f"model.layers.0.mlp.experts.{e}.up_proj.weight"].parts["weight"] for e in (0, 1))
        assert first.base is not None and not first.flags.owndata
        apart = second.__array_interface__["data"][0] - first.__array_interface__["data"][0]
        assert apart == first.nbytes


def test_unknown_tensors_are_named(tmp_path: Path) -> None:
    model = build("qwen3")
    ckpt = restored(tmp_path, model, {"blk.0.attn_gate.weight": np.ones((4, 4), np.float32)}, set())
    assert "blk.0.attn_gate.weight" in ckpt.unsupported and "qwen3" in ckpt.unsupported


def test_a_rope_tensor_of_another_architecture_is_not_ignored(tmp_path: Path) -> None:
    model = build("qwen3")
    ckpt = restored(tmp_path, model, {"rope_freqs.weight": np.full(64, 8, np.float32)}, set())
    assert "rope_freqs.weight" in ckpt.unsupported


@pytest.mark.parametrize("name", ["blk.1.attn_v.weight", "output_norm.weight", "blk.0.ffn_gate_inp.weight"])
def test_the_first_missing_tensor_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=re.escape(f"'{name}'")):
        restored(tmp_path, build("mixtral"), {}, {name})


def test_fused_rows_that_do_not_add_up(tmp_path: Path) -> None:
    wrong = {"blk.0.attn_qkv.weight": np.ones((100, 256), np.float32)}
    with pytest.raises(CheckpointError, match="100 rows"):
        restored(tmp_path, build("qwen3"), wrong, {f"blk.0.attn_{x}.weight" for x in "qkv"})
    with pytest.raises(CheckpointError, match="twice"):
        restored(tmp_path, build("qwen3"), {"blk.0.attn_qkv.weight": np.ones((1024, 256), np.float32)}, set())


@pytest.mark.parametrize(
    ("arch", "name", "shape", "message"),
    [
        ("qwen3", "blk.0.attn_qkv.weight", (8,), "expected a matrix"),
        ("mixtral", "blk.0.ffn_up_exps.weight", (1 << 16,), "stack of 4 experts"),
        ("mixtral", "blk.0.ffn_up_exps.weight", (5, 256, 256), "stack of 4 experts"),
        ("mixtral", "blk.0.ffn_up.0.weight", (256, 256), "1 of 4 experts"),
        ("llama", "blk.0.attn_q.weight", (9,), "9 rows"),
    ],
)
def test_impossible_shapes(arch: str, name: str, shape: tuple[int, ...], message: str, tmp_path: Path) -> None:
    missing = {"blk.0.ffn_up_exps.weight"} - {name} if arch == "mixtral" else {f"blk.0.attn_{x}.weight" for x in "qkv"}
    with pytest.raises(CheckpointError, match=message):
        restored(tmp_path, build(arch), {name: np.ones(shape, np.float32)}, missing - {name})


def test_hostile_names_cannot_flood_or_fool_a_terminal(tmp_path: Path) -> None:
    model = build("qwen3")
    ckpt = restored(tmp_path, model, {"blk.0.\x1b[2J": np.ones(4, np.float32)}, set())
    assert "\x1b" not in ckpt.unsupported and "[2J" in ckpt.unsupported


def test_an_unsupported_architecture_is_named_with_those_supported(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(str(path), "frobnet")
    writer.add_tensor("token_embd.weight", np.ones((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    reason = GGUFCheckpoint(path).unsupported
    assert "'frobnet'" in reason and all(stem in reason for stem in SUPPORTED)


# Half a step of an 8-bit code and the rounding of its fp16 scale; half a step of fp16. As a share of the largest weight
BOUNDS = {"q8_0": 0.5 / 127 + 2**-11, "f32": 2**-11}


@pytest.mark.parametrize(
    ("file", "folder"), [("tinychat-gguf/tinychat-Q8_0", "tinychat"), ("stories260K/stories260K", "stories260K-hf")]
)
def test_real_files_equal_their_hugging_face_folder(data_dir: Path, file: str, folder: str) -> None:
    """tinychat in Q8_0 against its bf16 original, stories260K in F32 against its fp16 copy."""
    with GGUFCheckpoint(data_dir / "models" / f"{file}.gguf") as ours:
        with open_checkpoint(data_dir / "models" / folder) as theirs:
            extra = set(ours) - set(theirs)
            assert extra <= {"lm_head.weight"} and set(theirs) <= set(ours)
            for name in theirs:
                a, b = ours[name].dequantize(), theirs[name].dequantize()
                assert a.shape == b.shape
                assert np.abs(a - b).max() <= BOUNDS[ours[name].format.name] * np.abs(b).max(), name
            if extra:  # this file carries its tied head twice
                head = ours["lm_head.weight"].dequantize()
                assert np.array_equal(head, ours["model.embed_tokens.weight"].dequantize())
