"""The safetensors reader against the `safetensors` package and MLX folders; then packings nobody here knows yet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from localq.checkpoints import Checkpoint, open_checkpoint
from localq.checkpoints.methods import find_rules
from localq.checkpoints.modules import Module, group, identify, settings
from localq.checkpoints.safetensors import SafetensorsCheckpoint
from localq.errors import CheckpointError, NotFoundError, UnsupportedError, UsageError
from localq.formats import FORMATS
from localq.formats.base import Format, Part
from tests.attacks_safetensors import entry, safetensors
from tests.factories import MlxQuant, build, write_hf, write_mlx


def same_as_package(ckpt: Checkpoint, path: Path) -> None:
    """Every tensor of one file, bit for bit."""
    want = load_file(path)
    assert want
    for name, w in want.items():
        have = ckpt[name]
        part = have.parts["weight"]
        assert have.shape == w.shape and part.dtype == w.dtype
        assert part.tobytes() == w.tobytes()
        assert bytes(ckpt.raw(name)[0]) == w.tobytes()


def test_real_folders(data_dir: Path) -> None:
    for name, form in (("tinychat", "bf16"), ("stories260K-hf", "f16"), ("stories260K-rot256-hf", "f16")):
        folder = data_dir / "models" / name
        with open_checkpoint(folder) as ckpt:
            assert ckpt.architecture == "llama" and ckpt.unsupported is None
            assert list(ckpt.formats) == [form]
            same_as_package(ckpt, folder / "model.safetensors")
            assert ckpt.file("tokenizer.json") == (folder / "tokenizer.json").read_bytes()
            assert ckpt.file("chat_template.jinja") is None


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shards", [1, 3])
def test_floats_in_one_file_and_in_shards(tmp_path: Path, dtype: str, shards: int) -> None:
    model = build("qwen3")
    folder = write_hf(model, tmp_path, dtype, shards=shards)
    with open_checkpoint(folder) as ckpt:
        assert set(ckpt) == set(model.weights)
        assert ckpt.config is not None and ckpt.config["hidden_size"] == model.config["hidden_size"]
        for file in folder.glob("*.safetensors"):
            same_as_package(ckpt, file)


def test_a_shard_or_the_index_opens_the_whole(tmp_path: Path) -> None:
    folder = write_hf(build("llama"), tmp_path, shards=2)
    whole = set(open_checkpoint(folder))
    for name in ("model-00002-of-00002.safetensors", "model.safetensors.index.json"):
        assert set(open_checkpoint(folder / name)) == whole
    (folder / "model.safetensors.index.json").unlink()
    assert set(open_checkpoint(folder)) == whole
    assert set(open_checkpoint(folder / "model-00002-of-00002.safetensors")) < whole


QUANTS = {
    "affine_4bit_g64": MlxQuant(),
    "affine_3bit_g32": MlxQuant(bits=3, group_size=32),
    "affine_8bit_g128": MlxQuant(bits=8, group_size=128),
    "mxfp4": MlxQuant("mxfp4"),
    "mxfp8": MlxQuant("mxfp8"),
    "nvfp4": MlxQuant("nvfp4"),
}


@pytest.mark.parametrize("form", QUANTS)
def test_mlx_folders(tmp_path: Path, form: str) -> None:
    quant = QUANTS[form]
    folder = write_mlx(build("llama"), tmp_path, quant)
    arrays = mx.load(str(folder / "model.safetensors"))
    with open_checkpoint(folder) as ckpt:
        packed = [name for name, spec in ckpt.specs.items() if spec.format == form]
        assert len(packed) == sum(name.endswith(".scales") for name in arrays)
        assert ckpt.unsupported is None
        for name in packed[:3]:
            parts = [arrays.get(name.removesuffix("weight") + part) for part in ("weight", "scales", "biases")]
            bits, group_size = int(FORMATS[form].bits), FORMATS[form].group_size
            want = mx.dequantize(*parts, group_size, bits, mode=quant.mode, dtype=mx.float32)
            np.testing.assert_allclose(ckpt[name].dequantize(), np.array(want), rtol=1e-6)


def test_mlx_settings_per_module(tmp_path: Path) -> None:
    def pick(path: str, module: Any) -> bool | dict[str, Any]:
        if "down_proj" in path:
            return {"bits": 8, "group_size": 32, "mode": "affine"}
        if "up_proj" in path:
            return {"mode": "mxfp4", "bits": 4, "group_size": 32}
        return "v_proj" not in path

    folder = write_mlx(build("llama"), tmp_path, MlxQuant(predicate=pick))
    specs = open_checkpoint(folder).specs
    want = {"down_proj": "affine_8bit_g32", "up_proj": "mxfp4", "v_proj": "f32", "q_proj": "affine_4bit_g64"}
    for name, form in want.items():
        assert (
            specs[f"model.layers.1.{'mlp' if 'own' in name or 'up' in name else 'self_attn'}.{name}.weight"][1] == form
        )


def test_mlx_second_scales_are_not_left_out(tmp_path: Path) -> None:
    """mlx-lm gives experts of an nvfp4 model a second scale: part of the weights, so never dropped silently."""
    with open_checkpoint(write_mlx(build("mixtral"), tmp_path, MlxQuant("nvfp4", global_scale=True))) as ckpt:
        assert not [name for name in ckpt if name.endswith("global_scale")]
        assert ckpt.unsupported is not None and "global_scale" in ckpt.unsupported


def test_settings_of_the_config() -> None:
    module = Module("m.weight", "m", {"weight": "m.weight", "scales": "m.scales"})
    lone = Module("n.weight", "n", {"weight": "n.weight"})
    common = {"bits": 4, "group_size": 64}
    assert settings(None, module) is None
    assert settings({**common, "x": {"bits": 2}, "y": False}, module) == common
    assert settings({**common, "m": {"bits": 8}}, module) == {"bits": 8}, "an entry replaces, as in mlx-lm"
    assert settings({**common, "m": False}, module) is None
    assert settings({**common, "m": True}, module) == common
    assert settings(common, lone) is None
    assert settings({**common, "n": True}, lone) == common
    other = {"quant_method": "of tomorrow", "groups": {"a": 1}}
    assert find_rules(other)(module) == other, "an unknown method's settings are handed on whole"
    assert find_rules(common)(module) == common and find_rules(None)(module) is None


def test_grouping() -> None:
    names = ["a.weight", "a.scales", "a.bias", "b.scales", "weight", ".weight", "c.qweight", "c.qzeros", "d.e_blocks"]
    names += ["d.e_scales", "d.e_bias", "f.weight", "f.weight.absmax", "f.weight.quant_state.bitsandbytes__nf4"]
    modules = group(names)
    assert sorted(stored for module in modules.values() for stored in module.parts.values()) == sorted(names)
    assert {name: sorted(module.parts) for name, module in modules.items() if len(module.parts) > 1} == {
        "a.weight": ["scales", "weight"],
        "c.weight": ["qweight", "qzeros"],
        "d.e": ["blocks", "scales"],
        "f.weight": ["weight", "weight.absmax", "weight.quant_state.bitsandbytes__nf4"],
    }
    with pytest.raises(CheckpointError, match="stored twice"):
        group(["d.e", "d.e_blocks", "d.e_scales"])


UNKNOWN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tomorrow": (
        {"quant_method": "tomorrow", "bits": 4, "group_size": 128, "zero_point": True},
        {"m.qweight": entry(0, 32, "I32", [8, 1]), "m.qzeros": entry(32, 36, "I32", [1, 1])}
        | {"m.scales": entry(36, 52, "F16", [1, 8])},
    ),
    "yesterday": (
        {"quant_method": "yesterday"},
        {"m.weight": entry(0, 16, "I16", [1, 8]), "m.weight_scale": entry(16, 17, "U8", [1, 1])},
    ),
    "online": ({"quant_method": "online"}, {"m.weight": entry(0, 16, "BF16", [2, 4])}),
}


@pytest.mark.parametrize("method", UNKNOWN)
def test_methods_localq_does_not_load_yet(tmp_path: Path, method: str) -> None:
    quantization, tensors = UNKNOWN[method]
    size = max(t["data_offsets"][1] for t in tensors.values())
    (tmp_path / "model.safetensors").write_bytes(safetensors(tensors, bytes(size)))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": quantization}))
    with open_checkpoint(tmp_path) as ckpt:
        assert ckpt.unsupported is not None and repr(method) in ckpt.unsupported
        assert ckpt.nbytes == size
        assert ckpt.architecture == "llama"
        if method != "online":  # plain floats that a loader of that method would quantise
            assert ckpt.formats == {method: 1}
            with pytest.raises(UnsupportedError, match=f"recognises .*quant_method '{method}'"):
                ckpt[next(iter(ckpt))]


def write(folder: Path, tensors: dict[str, Any], config: Any = None) -> SafetensorsCheckpoint:
    """A folder of these entries, opened."""
    size = max(t["data_offsets"][1] for t in tensors.values())
    (folder / "model.safetensors").write_bytes(safetensors(tensors, bytes(size)))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    found = open_checkpoint(folder)
    assert isinstance(found, SafetensorsCheckpoint)
    return found


def test_a_packing_without_a_name(tmp_path: Path) -> None:
    ckpt = write(tmp_path, {"m.weight": entry(0, 16, "U8", [4, 4])}, {"model_type": "llama"})
    assert ckpt.unsupported is not None
    assert "'m.weight'" in ckpt.unsupported and "weight U8 [4, 4]" in ckpt.unsupported
    assert "no quant_method" in ckpt.unsupported


def test_modelopt_in_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "NVFP4"}}')
    ckpt = write(tmp_path, {"m.weight": entry(0, 16, "U8", [4, 4])}, {"model_type": "llama"})
    assert ckpt.quant_method == "modelopt"
    assert ckpt.unsupported is not None and "modelopt" in ckpt.unsupported


def test_settings_inside_text_config(tmp_path: Path) -> None:
    config = {"model_type": "llama", "text_config": {"quantization_config": {"quant_method": "tomorrow"}}}
    ckpt = write(tmp_path, {"m.weight": entry(0, 16, "F32", [4])}, config)
    assert ckpt.unsupported is not None and "'tomorrow'" in ckpt.unsupported


def test_two_formats_that_match_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Twin(Format):
        name = "twin"

        @classmethod
        def match(cls, quantization: Any, stored: Any) -> Any:
            return cls, (1,)

    monkeypatch.setitem(FORMATS, "twin", Twin)
    with pytest.raises(CheckpointError, match=r"any of .*f32.*twin|any of twin.*f32"):
        identify(Module("w", "w", {"weight": "w"}), {"weight": Part("float32", (1,))}, None)


def test_tables_and_odd_shapes(tmp_path: Path) -> None:
    tensors = {"position_ids": entry(0, 16, "I64", [2]), "scalar": entry(16, 20, "F32", [])}
    ckpt = write(tmp_path, {**tensors, "none": entry(20, 20, "BF16", [0, 7])})
    assert ckpt.architecture is None and ckpt.config is None and ckpt.unsupported is None
    assert ckpt.formats == {"bf16": 1, "f32": 1, "i64": 1}
    assert ckpt["scalar"].dequantize().shape == ()
    assert ckpt["none"].dequantize().shape == (0, 7)
    assert ckpt.raw("position_ids")[1] == "I64"
    with pytest.raises(UnsupportedError, match=r"raw\(\)"):
        ckpt["position_ids"]


def test_closing_and_missing_names(tmp_path: Path) -> None:
    save_file({"a.weight": np.arange(4, dtype=np.float32)}, tmp_path / "x.safetensors")
    with open_checkpoint(tmp_path) as ckpt:
        kept = ckpt["a.weight"].parts["weight"]
        with pytest.raises(NotFoundError, match=r"Did you mean a\.weight"):
            ckpt["a.weights"]
        with pytest.raises(NotFoundError):
            ckpt.raw("nothing at all")
    assert kept.tolist() == [0, 1, 2, 3]
    assert not kept.flags.writeable
    with pytest.raises(UsageError, match="closed"):
        ckpt["a.weight"]


def test_a_huge_text_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate((1 << 26) + 1)
    ckpt = write(tmp_path, {"a": entry(0, 4, "F32", [1])})
    with pytest.raises(CheckpointError, match="at most 67108864"):
        ckpt.file("tokenizer.json")
