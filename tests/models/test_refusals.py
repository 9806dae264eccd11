"""A checkpoint whose config and tensors do not fit each other is refused fast, by name and with both numbers."""

from __future__ import annotations

import time

import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.models import architecture
from localq.models.loader import load_model
from tests.factories.files import save_weights, start_folder, write_hf
from tests.factories.tiny import build
from tests.models.folders import edit_config


@pytest.fixture()
def folder(tmp_path):
    return write_hf(build("llama"), tmp_path / "m")


def _refusal(folder, kind=CheckpointError):
    start = time.process_time()
    with pytest.raises(kind) as caught, open_checkpoint(folder) as checkpoint:
        load_model(checkpoint)
    assert time.process_time() - start < 5  # the first import of mlx-lm is in here
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("hidden_size", 10**12, "hidden_size is 1000000000000"),
        ("hidden_size", -4, "hidden_size is -4"),
        ("hidden_size", 0, "hidden_size is 0"),
        ("hidden_size", "256", "hidden_size is '256'"),
        ("hidden_size", 256.0, "hidden_size is 256.0"),
        ("num_hidden_layers", 10**9, "num_hidden_layers is 1000000000"),
        ("num_attention_heads", 0, "num_attention_heads is 0"),
        ("num_attention_heads", True, "num_attention_heads is True"),
        ("vocab_size", 10**10, "vocab_size is 10000000000"),
        ("intermediate_size", 2**40, "intermediate_size is 1099511627776"),
        ("head_dim", 2**33, "head_dim is 8589934592"),
        ("num_key_value_heads", 2**33, "num_key_value_heads is 8589934592"),
    ],
)
def test_hostile_sizes(folder, key, value, says):
    edit_config(folder, **{key: value})
    assert says in _refusal(folder)


def test_sizes_that_contradict_the_tensors_carry_both_shapes(folder):
    edit_config(folder, intermediate_size=256)
    message = _refusal(folder)
    assert "512" in message and "256" in message and "mlp." in message


def test_more_layers_than_the_tensors_have_are_missing_by_name(folder):
    edit_config(folder, num_hidden_layers=3)
    message = _refusal(folder)
    assert "9 (model.layers.2." in message and "missing, none unexpected" in message


def test_fewer_layers_are_unexpected_by_name(folder):
    edit_config(folder, num_hidden_layers=1)
    message = _refusal(folder)
    assert "none missing, 9 (model.layers.1." in message


def test_a_missing_tensor_is_named(tmp_path):
    tiny = build("llama")
    del tiny.weights["model.layers.1.mlp.up_proj.weight"]
    folder = start_folder(tiny, tmp_path / "m", {"torch_dtype": "float32"})
    save_weights(folder, tiny.weights)
    assert "1 (model.layers.1.mlp.up_proj.weight) missing" in _refusal(folder)


def test_an_unknown_architecture_is_named(folder):
    edit_config(folder, model_type="hal9000")
    message = _refusal(folder, UnsupportedError)
    assert "'hal9000'" in message and "mlx-lm" in message


@pytest.mark.parametrize("value", ["../../evil", "os;system", "", 7, None, ["llama"]])
def test_a_model_type_that_is_no_name(folder, value):
    edit_config(folder, model_type=value)
    assert "model_type" in _refusal(folder) or "architecture" in _refusal(folder)


def test_nothing_of_the_checkpoint_is_executed(folder, tmp_path):
    marker = tmp_path / "ran"
    (folder / "model.py").write_text(f"open({str(marker)!r}, 'w')\n")
    edit_config(folder, model_file="model.py", auto_map={"AutoModelForCausalLM": "model.Model"})
    with open_checkpoint(folder) as checkpoint:
        load_model(checkpoint)
    assert not marker.exists()


def test_a_config_without_what_the_architecture_needs(folder):
    import json

    config = json.loads((folder / "config.json").read_text())
    del config["num_attention_heads"]
    (folder / "config.json").write_text(json.dumps(config))
    message = _refusal(folder)
    assert "num_attention_heads" in message and "'llama'" in message


def test_quantised_activations_are_not_ignored(folder):
    edit_config(folder, quantize_activations=True)
    assert "activations" in _refusal(folder, UnsupportedError)


def test_weights_an_architecture_transposes_are_refused_by_name(tmp_path, monkeypatch):
    """gpt_oss in Hugging Face's float layout is [experts, in, out]; rows are no output features there.

    localq runs it by a correction and a declaration; without them it stands for any architecture not declared yet.
    """
    monkeypatch.setattr(architecture.corrected, "find", lambda model_type: None)
    monkeypatch.setitem(architecture.DECODED, "gpt_oss", ())
    monkeypatch.setitem(architecture.DECODED_FLOATS, "gpt_oss", ())
    message = _refusal(write_hf(build("gpt_oss"), tmp_path / "m"))
    assert "experts" in message
