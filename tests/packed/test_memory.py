"""Loading a packed safetensors model peaks at its packed size and the working set of one tensor; no second copy.

Random llamas of 90 MB (370 MB dequantised) in three shards, loaded and run in a process of their own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.memory import Size, measure, ratio
from tests.factories.files import save_weights

SIZE, TOKENS = Size(layers=8, vocabulary=8192), 48
LARGEST = SIZE.feed_forward * SIZE.hidden  # weights of the largest packed matrix
BLOCK = 1 << 21  # weights that are repacked at a time
# Bytes: the matrix as it lies in the file; of one block codes, their order, packed words and float32 scales.
WORKING_SET = LARGEST // 2 + 8 * min(LARGEST, BLOCK)
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc"),
    pytest.mark.slow,
]


def write_gptq(folder: Path, scattered: bool) -> Path:
    """Every matrix but embedding and head in 4-bit GPTQ, groups of 128."""
    rng = np.random.default_rng(0)
    tensors = {name: np.ones(SIZE.hidden, np.float16) for name in ("model.norm.weight",)}
    for name, (out, width) in SIZE.matrices().items():
        *layer, last = name.removesuffix(".weight").split(".")
        if not layer:
            path = "lm_head" if last == "output" else "model.embed_tokens"
            tensors[f"{path}.weight"] = np.full((out, width), 0.01, np.float16)
            continue
        path = f"model.layers.{layer[1]}.{NAMES[last]}"
        groups = np.arange(width) // 128
        tensors[f"{path}.qweight"] = rng.integers(-(1 << 31), 1 << 31, (width // 8, out), np.int64).astype(np.int32)
        tensors[f"{path}.qzeros"] = np.full((width // 128, out // 8), 0x77777777, np.int32)
        tensors[f"{path}.scales"] = np.full((width // 128, out), 1e-3, np.float16)
        tensors[f"{path}.g_idx"] = (rng.permutation(groups) if scattered else groups).astype(np.int32)
    for i in range(SIZE.layers):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{i}.{norm}.weight"] = np.ones(SIZE.hidden, np.float16)
    folder.mkdir()
    save_weights(folder, tensors, shards=3)
    config = {
        "model_type": "llama",
        "hidden_size": SIZE.hidden,
        "intermediate_size": SIZE.feed_forward,
        "num_hidden_layers": SIZE.layers,
        "num_attention_heads": SIZE.heads,
        "num_key_value_heads": SIZE.kv_heads,
        "vocab_size": SIZE.vocabulary,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_peak_of_loading(tmp_path: Path) -> None:
    found = measure(write_gptq(tmp_path / "m", scattered=True), TOKENS)
    assert found["made"] == 4 and found["packed"] > 60_000_000
    assert found["load"] <= found["packed"] + WORKING_SET
    assert ratio(found, SIZE, TOKENS) <= 1
