"""Expert stacks that Hugging Face stores `[n, in, out]` (Llama 4, Qwen3-VL-MoE, DBRX): loaded as they are, not turned.

The oracle is plain mlx-lm on a folder in its own names; the published layout of the same weights must give its logits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from localq.checkpoints.detect import open_checkpoint
from localq.models.linear import PackedLinear, PackedSwitchLinear
from localq.models.loader import load_model
from tests.models.folders import difference, packed_logits, plain_logits, write_random

_TEXT: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 320,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama4": {
        "model_type": "llama4",
        "text_config": {
            **_TEXT,
            "model_type": "llama4_text",
            "rms_norm_eps": 1e-6,  # what mlx-lm has built in for queries and keys
            "num_hidden_layers": 4,  # mlx-lm's llama4 looks at the fourth layer's cache
            "attention_bias": False,
            "attention_chunk_size": 128,
            "intermediate_size_mlp": 64,
            "interleave_moe_layer_step": 1,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "rope_scaling": None,
            "use_qk_norm": True,
        },
    },
    "qwen3_vl_moe": {
        "model_type": "qwen3_vl_moe",
        "text_config": {
            **_TEXT,
            "model_type": "qwen3_vl_moe_text",
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
        },
    },
    "dbrx": {
        "model_type": "dbrx",
        "vocab_size": 320,
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 4,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
    },
}


def published(name: str, weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """mlx-lm's parameters as the published checkpoints lay them out."""
    out = dict(weights)
    for i in range(4 if name == "llama4" else 2):
        if name == "dbrx":
            stem = f"transformer.blocks.{i}.ffn.experts."
            each = {w: [out.pop(f"{stem}{e}.{w}.weight") for e in range(4)] for w in ("w1", "v1", "w2")}
            for w, matrices in each.items():
                out[f"{stem}mlp.{w}"] = mx.concatenate([m.T if w == "w2" else m for m in matrices])
            continue
        where = "feed_forward.experts" if name == "llama4" else "mlp.switch_mlp"
        stem = f"language_model.model.layers.{i}.{where}."
        gate, up, down = (out.pop(f"{stem}{x}_proj.weight").swapaxes(1, 2) for x in ("gate", "up", "down"))
        stem = stem.replace("switch_mlp", "experts")
        out[f"{stem}gate_up_proj"], out[f"{stem}down_proj"] = mx.concatenate([gate, up], axis=-1), down
    return {name: mx.contiguous(w) for name, w in out.items()}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_published_stacks_stay_packed(name: str, dtype: str, tmp_path: Path) -> None:
    folder = write_random(tmp_path / "own", CONFIGS[name])
    weights = {n: w.astype(getattr(mx, dtype)) for n, w in mx.load(str(folder / "model.safetensors")).items()}
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    turned = tmp_path / "published"
    turned.mkdir()
    mx.save_safetensors(str(turned / "model.safetensors"), published(name, weights))
    (turned / "config.json").write_text(json.dumps(CONFIGS[name]))
    with open_checkpoint(str(turned)) as checkpoint:
        model, _ = load_model(checkpoint, mx.float32)
    kinds = [m for _, m in model.named_modules() if isinstance(m, (PackedSwitchLinear, PackedLinear)) and m.swapped]
    assert len(kinds) == {"llama4": 12, "qwen3_vl_moe": 6, "dbrx": 8}[name]
    assert difference(packed_logits(model), plain_logits(folder)) < 1e-5


def test_columns_packed_across_the_cut_are_refused(tmp_path: Path) -> None:
    import numpy as np

    from localq.errors import UnsupportedError
    from localq.formats import FORMATS
    from localq.kernels.checks import random_tensor
    from localq.models.provenance import Ledger

    ledger = Ledger()
    t = random_tensor(FORMATS["q4_k"], (8, 256), np.random.default_rng(0))
    shown = ledger.enter("a", t.shape, t.format.family, lambda: t)
    traced = ledger.trace(shown[:, :1].swapaxes(-1, -2))
    assert traced is not None and traced.half == 0 and traced.swapped
    with pytest.raises(UnsupportedError, match="across the cut"):
        ledger.matrix(traced.rows, traced.half)
