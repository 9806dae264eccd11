"""Keys that mlx-lm passes over: refused where they would change the answers, and a window bounds the context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from localq.checkpoints.detect import open_checkpoint
from localq.engines.mlx import MLXEngine, text_config
from localq.errors import DoesNotFitError, UnsupportedError
from localq.models.ignored_keys import COMPUTED, window
from localq.models.loader import load_model
from tests.factories.every import config
from tests.models.folders import write_random

CHANGED = {  # what transformers 5.23's tiny models answer differently to
    "dbrx": {
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2, "ffn_act_fn": {"name": "relu"}}
    },
    "bailing_hybrid": {"kda_lower_bound": -5.0},
    "deepseek_v3": {"rope_interleave": False}, "ernie4_5_moe": {"moe_norm_min": 10.0},
    "gemma4_text": {"use_bidirectional_attention": "all"}, "glm4_moe_lite": {"rope_interleave": False},
    "mamba2": {"hidden_act": "relu"}, "nemotron": {"hidden_act": "relu"}, "nemotron_h": {"mlp_hidden_act": "relu"},
    "youtu_llm": {"rope_interleave": False},
    "gemma3_text": {"final_logit_softcapping": 1.0}, "gpt2": {"activation_function": "relu"},
    "gpt_bigcode": {"activation_function": "relu"}, "gpt_oss": {"swiglu_limit": 0.05},
    "gptj": {"activation_function": "relu"}, "nanochat": {"final_logit_softcapping": 0.5}, "olmoe": {"clip_qkv": 0.01},
    "phi": {"qk_layernorm": True}, "qwen2_moe": {"norm_topk_prob": True},
}  # fmt: skip


def rewritten(folder: Path, change: dict[str, Any]) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    return folder


def test_every_listed_architecture_is_tried() -> None:
    assert set(CHANGED) == set(COMPUTED)


@pytest.mark.parametrize("model_type", CHANGED)
def test_a_key_that_would_change_the_answers_is_refused(model_type: str, tmp_path: Path) -> None:
    folder = write_random(tmp_path, config(model_type))
    with open_checkpoint(folder) as checkpoint:
        load_model(checkpoint, mx.float32)  # as the architecture computes it
    ((key, value),) = CHANGED[model_type].items()
    rewritten(folder, {key: value})
    said = "ffn_act_fn" if key == "ffn_config" else key
    with open_checkpoint(folder) as checkpoint, pytest.raises(UnsupportedError, match=f"{said} is"):
        load_model(checkpoint, mx.float32)


WINDOW = {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 0, "layer_types": None}
BOUNDED = {
    **dict.fromkeys(("phi3", "starcoder2", "mixtral", "phimoe", "qwen2", "qwen3", "qwen3_moe", "smollm3"), WINDOW),
    **{"dots1": WINDOW, "llama4_text": {"attn_temperature_tuning": True, "floor_scale": 9}},
}


@pytest.mark.parametrize("model_type", BOUNDED)
def test_a_window_that_is_not_computed_bounds_the_context(model_type: str, tmp_path: Path) -> None:
    """Within it every token is seen, so the logits are those without one; beyond it the engine says no."""
    folder = rewritten(write_random(tmp_path, config(model_type)), {"max_position_embeddings": 64})
    with open_checkpoint(folder) as checkpoint:
        want = MLXEngine(checkpoint).logits([1, 2, 3, 4, 5, 6, 7, 8])
    rewritten(folder, BOUNDED[model_type])
    with open_checkpoint(folder) as checkpoint:
        engine = MLXEngine(checkpoint)
        assert engine.context == 8
        np.testing.assert_array_equal(engine.logits([1, 2, 3, 4, 5, 6, 7, 8]), want)
        with pytest.raises(DoesNotFitError):
            engine.logits(list(range(1, 10)))


def test_llama_4_in_whole_is_not_bounded() -> None:
    text = {"model_type": "llama4_text", "attn_temperature_tuning": 4, "max_position_embeddings": 10485760}
    assert window(text) == 8191
    assert window(text_config({"model_type": "llama4", "text_config": text})) is None


def test_the_window_of_a_text_part_counts() -> None:
    text = {"model_type": "qwen2_5_vl_text", "sliding_window": 8, "use_sliding_window": True}
    whole = {"model_type": "qwen2_5_vl", "text_config": text}
    assert window(text_config(whole)) == 8
    text["use_sliding_window"] = False
    assert window(text_config(whole)) is None


def test_one_expert_with_a_weight_of_one(tmp_path: Path) -> None:
    """mlx-lm leaves its weight as the router has it."""
    folder = rewritten(write_random(tmp_path, config("dots1")), {"num_experts_per_tok": 1})
    with open_checkpoint(folder) as checkpoint, pytest.raises(UnsupportedError, match="one expert a token"):
        load_model(checkpoint, mx.float32)
