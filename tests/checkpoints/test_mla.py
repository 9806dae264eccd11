"""Latent attention in GGUF: old and new forms of kv_b_proj, packed halves, tokens predicted ahead, contradictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.checkpoints.gguf import GGUFCheckpoint
from localq.errors import CheckpointError
from tests.factories import ggml, mla, more
from tests.factories.more import Array, Case

pytestmark = pytest.mark.skipif(not ggml.available(), reason="needs llama-cpp-python's libggml")
ATTN = "model.layers.1.self_attn."


def written(
    tmp_path: Path,
    name: str = "deepseek_v3",
    keys: dict[str, Any] | None = None,
    changed: dict[str, Array | None] | None = None,
) -> GGUFCheckpoint:
    """The tiny model's file with keys and tensors changed; None takes one away."""
    case = mla.CASES[name]
    model = more.make(name, case)
    weights = {**more.tensors(model, case), **(changed or {})}
    stored = {n: ("f32", w.shape, ggml.quantize(w, "f32")) for n, w in weights.items() if w is not None}
    other: Case = case._replace(keys=lambda c: {**case.keys(c), **(keys or {})})
    return GGUFCheckpoint(more.save(model, other, tmp_path / f"{len(changed or {})}.gguf", stored))


def test_the_form_of_2024_has_one_matrix(tmp_path: Path) -> None:
    model = more.make("deepseek_v3", mla.CASES["deepseek_v3"])
    changed: dict[str, Array | None] = {}
    for i in range(2):
        changed[f"blk.{i}.attn_kv_b.weight"] = model.weights[f"model.layers.{i}.self_attn.kv_b_proj.weight"]
        changed |= {f"blk.{i}.attn_{x}_b.weight": None for x in "kv"}
    c = model.config
    keys = {
        "attention.key_length": c["qk_nope_head_dim"] + c["qk_rope_head_dim"],
        "attention.value_length": c["v_head_dim"],
        "attention.head_count_kv": c["num_attention_heads"],
        "attention.key_length_mla": None,
        "attention.value_length_mla": None,
    }
    with written(tmp_path, keys=keys, changed=changed) as old, written(tmp_path) as new:
        assert old.unsupported is None and old.config == new.config and set(old) == set(new)
        for name in new:
            assert old[name].dequantize().tobytes() == new[name].dequantize().tobytes(), name


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_packed_halves_stay_packed_under_mlx_lm_s_names(kind: str, tmp_path: Path) -> None:
    case = mla.CASES["deepseek_v3"]
    model = more.make("deepseek_v3", case)
    path = more.write(model, case, tmp_path / "m.gguf", lambda name, shape: kind if "_b.weight" in name else "f32")
    whole = model.weights[ATTN + "kv_b_proj.weight"].reshape(4, -1, 64)
    with GGUFCheckpoint(path) as ckpt:
        assert ATTN + "kv_b_proj.weight" not in ckpt
        keys, values = ckpt[ATTN + "embed_q.weight"], ckpt[ATTN + "unembed_out.weight"]
        assert keys.format.name == values.format.name == kind
        wanted = np.ascontiguousarray(whole[:, :32].swapaxes(1, 2))
        assert keys.parts["weight"].tobytes() == ggml.quantize(wanted, kind).tobytes()
        assert values.shape == (4, 64, 64)


def test_blocks_that_predict_ahead_are_left_out_and_said(tmp_path: Path) -> None:
    extra = {f"blk.2.{n}.weight": np.ones((8, 8), np.float32) for n in ("attn_norm", "nextn.eh_proj", "attn_q_a")}
    with written(tmp_path, keys={"block_count": 3, "nextn_predict_layers": 1}, changed=dict(extra)) as ckpt:
        assert ckpt.unsupported is None and ckpt.config is not None
        assert ckpt.config["num_hidden_layers"] == 2
        assert set(ckpt.unused) == set(extra)
        assert not any(".layers.2." in name for name in ckpt)
    with pytest.raises(CheckpointError, match="nextn_predict_layers"):
        written(tmp_path, keys={"nextn_predict_layers": 2})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"expert_gating_func": 3}, "expert_gating_func = 3"),
        ({"attention.temperature_scale": 0.1}, "attention.temperature_scale"),
        ({"rope.scaling.type": "linear"}, "'linear'"),
        ({"expert_weights_scale": "much"}, "expected a finite number"),
        ({"attention.kv_lora_rank": None}, "attention.kv_lora_rank"),
        ({"rope.dimension_count": 64}, "rotates 64 of 64"),
    ],
)
def test_keys_that_mean_another_model_are_refused(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    try:
        found = written(tmp_path, keys=keys).unsupported or ""
    except CheckpointError as error:
        found = str(error)
    assert message in found


def test_a_missing_half_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="blk.1.attn_kv_b.weight"):
        written(tmp_path, changed={"blk.1.attn_v_b.weight": None})
    with pytest.raises(CheckpointError, match="expected \\[heads, rank, nope\\]"):
        written(tmp_path, changed={"blk.1.attn_v_b.weight": np.ones((4, 8, 8), np.float32)})
