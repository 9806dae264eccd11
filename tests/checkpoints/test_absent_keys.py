"""Keys that a config leaves out mean what transformers' own config classes say, not what mlx-lm's do."""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.checkpoints.absent_keys import DEFAULTS, TIED, completed
from localq.models.architecture import find_classes
from localq.models.loader import load_model
from tests.factories.every import config, model_types
from tests.models.folders import write_random

# Of mlx-lm's classes, those of text parts: model_type -> module, class
TEXTS = {"qwen3_5_text": ("qwen3_5", "TextModelArgs"), "qwen3_5_moe_text": ("qwen3_5", "TextModelArgs")}
SAME = {  # differences that change nothing
    ("deepseek_v2", "topk_method"),  # a typing error, of a word that is not asked for
    *(("jamba", "mamba_dt_rank"), ("falcon_h1", "mamba_d_head")),  # quotients of other sizes
    ("bailing_hybrid", "num_nextn_predict_layers"),  # blocks that are left out
    *(("qwen3_5_text", "rope_theta"), ("qwen3_5_moe_text", "rope_theta")),  # it is read from rope_parameters
    ("mellum", "rope_parameters"),  # an error without them
    ("granitemoehybrid", "time_step_limit"),  # a tuple, a list
}
OTHERS = {"nanochat", "step3p5"}  # models of another make under the same name


def theirs(model_type: str) -> dict[str, Any] | None:
    """transformers' values of all keys, None where it has no such model."""
    transformers = importlib.import_module("transformers")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        found = transformers.AutoConfig.for_model(model_type).get_text_config().to_dict()
    except (ValueError, ImportError, KeyError):
        return None
    rope = found.get("rope_parameters")
    based = isinstance(rope, dict) and "rope_theta" in rope and "rope_theta" not in found
    return {**found, "rope_theta": rope["rope_theta"]} if based else found


def ours(model_type: str) -> dict[str, Any]:
    """What mlx-lm's class takes where a key is missing."""
    if model_type in TEXTS:
        module, name = TEXTS[model_type]
        args = getattr(importlib.import_module(f"mlx_lm.models.{module}"), name)
    else:
        args = find_classes(config(model_type))[1]
    known: dict[str, Any] = {}
    for one in dataclasses.fields(args):
        if one.default is not dataclasses.MISSING:
            known[one.name] = one.default
        elif one.default_factory is not dataclasses.MISSING:
            known[one.name] = one.default_factory()
    return known


@pytest.mark.skipif(not version("transformers").startswith("5.23."), reason="the table is that of transformers 5.23")
@pytest.mark.parametrize("model_type", sorted({*model_types(), *TEXTS} - OTHERS - {"muse_spark", "phi3small"}))
def test_what_is_left_out_means_what_transformers_says(model_type: str) -> None:
    right = theirs(model_type)
    if right is None:
        assert model_type not in DEFAULTS
        return
    whole = completed({"model_type": model_type}, ["lm_head.weight"])
    for key, value in ours(model_type).items():
        if value is None or key == "model_type" or key not in right or (model_type, key) in SAME:
            continue
        want = right[key]
        if key == "position_embedding_type":
            want = want or "nope"
        if key == "rope_parameters":
            assert whole.get(key, value)["rope_theta"] == want["rope_theta"]
            continue
        assert whole.get(key, value) == want, f"{key} of {model_type}"


def test_every_entry_is_of_use() -> None:
    for model_type, keys in DEFAULTS.items():
        known = ours(model_type)
        assert all(known[key] != value for key, value in keys.items() if key in known), model_type
        assert set(keys) <= set(known), model_type


def logits(folder: Path) -> np.ndarray:
    with open_checkpoint(folder) as checkpoint:
        model, _ = load_model(checkpoint, mx.float32)
    return np.array(model(mx.array([[1, 2, 3, 4]])))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("model_type", sorted(set(TIED) & set(model_types()) - {"minicpm3"}))
def test_a_head_that_is_stored_is_used(tmp_path: Path, model_type: str, tied: bool) -> None:
    """mlx-lm would multiply by the embedding, and drop the head without a word."""
    folder = write_random(tmp_path / "m", {**config(model_type), "tie_word_embeddings": tied})
    want, file = logits(folder), folder / "config.json"
    whole = json.loads(file.read_text())
    del whole["tie_word_embeddings"]
    file.write_text(json.dumps(whole))
    np.testing.assert_array_equal(logits(folder), want)


def test_what_is_said_stays() -> None:
    said = {"model_type": "llama", "tie_word_embeddings": True}
    assert completed(said, ["lm_head.weight"]) == said
    rope = {"model_type": "qwen2", "tie_word_embeddings": False, "rope_parameters": {"rope_theta": 1e6}}
    assert completed(rope, []) == rope
    text = {"model_type": "gemma3_text", "sliding_window": 1024}
    nested = completed({"model_type": "gemma3", "text_config": text}, [])["text_config"]
    assert (nested["sliding_window"], nested["num_attention_heads"]) == (1024, 8)


def test_windows_of_exaone_4() -> None:
    """Both forms were compared with transformers' logits; without a window all layers have ropes."""
    kinds = ["sliding_attention", "full_attention"]
    said: dict[str, Any] = {"model_type": "exaone4", "sliding_window": 6, "sliding_window_pattern": 4}
    assert completed({**said, "layer_types": kinds * 2}, [])["sliding_window_pattern"] == "LGLG"
    none = completed({**said, "sliding_window": None, "layer_types": kinds[1:] * 4}, [])
    assert none["sliding_window_pattern"] is None
    assert completed({**said, "sliding_window_pattern": "LLLG"}, [])["sliding_window_pattern"] == "LLLG"
