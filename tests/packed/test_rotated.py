"""Online rotations: logits of llamas that compressed-tensors turned and hooked in torch; what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from safetensors.numpy import save_file

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.formats import find
from localq.models.loader import load_model
from tests.packed.fixtures import stored

PROVES = {"rotated"}
FILE = "rotated.safetensors"
CASES = ("hadamard", "matrix", "quip", "spinquant")
UP, DOWN = "model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj"
Tensors = dict[str, np.ndarray]


def parts_of(case: str) -> tuple[Tensors, dict[str, Any]]:
    """Arrays and config of one model, copies."""
    tensors, notes = stored(FILE)
    own = {n.partition("/")[2]: a for n, a in tensors.items() if n.startswith(f"{case}/") and not n.endswith("/logits")}
    return own, json.loads(json.dumps(notes[case]["config"]))


def folder(root: Path, tensors: Tensors, config: dict[str, Any]) -> Path:
    save_file(tensors, root / "model.safetensors")
    (root / "config.json").write_text(json.dumps(config))
    return root


def logits(root: Path, case: str) -> tuple[Any, float]:
    """The model, and its logits' largest distance from torch's in units of their range, all at once and singly."""
    from mlx_lm.models.cache import make_prompt_cache

    tensors, notes = stored(FILE)
    want, ids = tensors[f"{case}/logits"], notes[case]["ids"]
    model, _ = load_model(open_checkpoint(root), mx.float32)
    together = np.array(model(mx.array([ids]))[0])
    cache = make_prompt_cache(model)
    singly = np.stack([np.array(model(mx.array([[token]]), cache=cache)[0, 0]) for token in ids])
    return model, max(np.abs(together - want).max(), np.abs(singly - want).max()) / np.ptp(want)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kernels", ["", "reference", "native"])
def test_logits_are_the_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, kernels: str) -> None:
    monkeypatch.setenv("LOCALQ_KERNELS", kernels)
    model, distance = logits(folder(tmp_path, *parts_of(case)), case)
    assert distance < 1e-4
    turned = {row.format for row in model.report.rows if "_rotated" in row.format}
    assert len(turned) >= 1 and all(find(name) is not None for name in turned)


@pytest.mark.parametrize("case", CASES)
def test_without_the_rotation_it_is_another_model(tmp_path: Path, case: str) -> None:
    tensors, config = parts_of(case)
    groups = config["quantization_config"].pop("transform_config")["config_groups"]
    tensors = {n: a for n, a in tensors.items() if not any(f".{g}_" in n and "proj.weight" not in n for g in groups)}
    tensors |= {n: a for n, a in parts_of(case)[0].items() if n.endswith(("proj.weight", "proj.bias", "_scale"))}
    assert logits(folder(tmp_path, tensors, config), case)[1] > 1e-2


def test_rotations_are_no_tensors_of_the_model(tmp_path: Path) -> None:
    with open_checkpoint(folder(tmp_path, *parts_of("quip"))) as checkpoint:
        assert checkpoint.unsupported is None
        assert not [name for name in checkpoint if "input" in name.rpartition("layers")[2] and "layernorm" not in name]
        assert checkpoint.specs[f"{UP}.weight"].format == "ct_bytes_channel_rotated_in16own_out16own"
        bias = checkpoint["model.layers.0.self_attn.q_proj.bias"]
        assert bias.format.name == "f32_rotated_out16own" and bias.dequantize().shape == (32,)
        assert set(checkpoint.unused.values()) == {"a rotation, done at run time"}


def scheme(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(config["quantization_config"]["transform_config"]["config_groups"].values()))
    return found


REFUSED: dict[str, tuple[Any, str]] = {
    "type": (lambda s: s.update(type="butterfly"), "'butterfly'"),
    "place": (lambda s: s["apply"][0].update(location="v_cache"), "v_cache"),
    "key": (lambda s: s.update(angle=3), "angle"),
    "twice": (lambda s: s["apply"].append(dict(s["apply"][0])), "rotates the input of .*proj"),
    "embedding": (lambda s: s["apply"][0].update(targets=["Embedding"]), "embed_tokens"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(tmp_path: Path, case: str) -> None:
    tensors, config = parts_of("hadamard")
    change, said = REFUSED[case]
    change(scheme(config))
    with pytest.raises(UnsupportedError, match=said):
        load_model(open_checkpoint(folder(tmp_path, tensors, config)))


def test_a_tied_head_is_refused(tmp_path: Path) -> None:
    tensors, config = parts_of("hadamard")
    del tensors["lm_head.weight"]
    scheme(config)["apply"][0]["ignore"] = []
    with pytest.raises(UnsupportedError, match="lm_head, which is tied"):
        load_model(open_checkpoint(folder(tmp_path, tensors, {**config, "tie_word_embeddings": True})))


R4 = f"{DOWN}.R4_input.weight"
DAMAGE: dict[str, tuple[Any, str]] = {
    "missing": (lambda t: t.pop(R4), "48 x 48, is not stored"),
    "signs": (lambda t: t.update({R4: t[R4] * np.float32(0.5)}), "entries other than 1 and -1"),
    "shape": (lambda t: t.update({R4: t[R4][:16]}), "48 x 48, is not stored"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_rotations(tmp_path: Path, case: str) -> None:
    tensors, config = parts_of("spinquant")
    DAMAGE[case][0](tensors)
    with (
        pytest.raises(CheckpointError, match=DAMAGE[case][1]),
        open_checkpoint(folder(tmp_path, tensors, config)) as checkpoint,
    ):
        _ = checkpoint[f"{DOWN}.weight"]


def test_a_side_that_is_no_multiple(tmp_path: Path) -> None:
    tensors, config = parts_of("hadamard")
    scheme(config)["head_dim"] = 40
    with pytest.raises(CheckpointError, match="blocks of 40"):
        open_checkpoint(folder(tmp_path, tensors, config))["model.layers.0.self_attn.q_proj.weight"]


def test_a_permutation_that_is_none(tmp_path: Path) -> None:
    tensors, config = parts_of("quip")
    name = next(n for n in tensors if n.endswith(".perm"))
    tensors[name] = np.zeros_like(tensors[name])
    with pytest.raises(CheckpointError, match="no permutation of 16"):
        open_checkpoint(folder(tmp_path, tensors, config))[f"{UP}.weight"]
