"""gpt-oss as OpenAI publishes it: MXFP4 experts, gate and up in alternate rows, everything else in 16 bits.

The packer below is made from the published layout (openai/gpt-oss, gpt_oss/torch/weights.py) and shares no code with
localq; the logits are held against mlx-lm twice: on the same folder, and on the dequantised weights in its own names.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError
from localq.models.loader import load_model
from tests.factories.files import save_weights, start_folder
from tests.factories.layout import split_gpt_oss_experts
from tests.factories.tiny import build
from tests.models.folders import difference, packed_logits, plain_logits
from tests.packed.models import compare

PROVES = {"mxfp4_blocks"}
BOUND = 1e-4
CONFIG = {
    "quant_method": "mxfp4",
    "modules_to_not_convert": [
        *("model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"),
    ],
}
LEVELS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
EXPERTS = "mlp.experts."


def mxfp4(w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks [E, out, in / 32, 16], scales [E, out, in / 32] and the weights they stand for, of [E, out, in]."""
    groups = w.reshape(*w.shape[:2], -1, 32)
    exponent = np.ceil(np.log2(np.abs(groups).max(axis=-1) / 6)).astype(np.int64)
    scaled = groups / np.exp2(exponent)[..., None]
    nearest = np.abs(np.abs(scaled)[..., None] - LEVELS).argmin(axis=-1)
    nibbles = nearest + 8 * (scaled < 0)
    blocks = (nibbles[..., 0::2] + 16 * nibbles[..., 1::2]).astype(np.uint8)
    values = np.where(scaled < 0, -1, 1) * LEVELS[nearest] * np.exp2(exponent)[..., None]
    return blocks, (exponent + 127).astype(np.uint8), values.reshape(w.shape).astype(np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The packed model under its published names, and its dequantised weights under mlx-lm's."""
    root, model = tmp_path_factory.mktemp("gpt_oss"), build("gpt_oss", intermediate_size=192)
    packed: dict[str, np.ndarray] = {}
    dense: dict[str, np.ndarray] = {}
    for name, w in model.weights.items():
        stem, _, rest = name.partition(EXPERTS)
        if not rest:
            packed[name] = dense[name] = w
            continue
        if rest.endswith("_proj"):
            blocks, scales, values = mxfp4(np.ascontiguousarray(w.swapaxes(-1, -2)))
            packed |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
            w = values.swapaxes(-1, -2)
        else:
            packed[name] = w
        for own, part in split_gpt_oss_experts(EXPERTS + rest, w):
            which, kind = own.removeprefix("ffn_").replace("_exps", "").split(".")
            dense[f"{stem}{EXPERTS}{which}_proj.{kind}"] = part
    for kind, tensors in (("packed", packed), ("dense", dense)):
        save_weights(start_folder(model, root / kind, {}), tensors)
    path = root / "packed" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": CONFIG}))
    return root / "packed", root / "dense"


def test_logits_are_those_of_the_dequantised_model_and_of_mlx_lm(folders: tuple[Path, Path]) -> None:
    packed, dense = folders
    model, distance = compare(packed, dense)
    assert distance < BOUND
    assert difference(packed_logits(model), plain_logits(packed)) < BOUND
    rows = {row.format: row for row in model.report.rows}
    assert rows["mxfp4_blocks"].exactness == "exact" and rows["mxfp4_blocks"].way.startswith("native mxfp4")
    assert rows["mxfp4_blocks"].matrices == 2 * 3 * 4  # gate, up and down of 4 experts in 2 layers


def test_only_the_experts_are_packed(folders: tuple[Path, Path]) -> None:
    with open_checkpoint(folders[0]) as checkpoint:
        forms = {name: spec for name, spec in checkpoint.specs.items() if spec.format == "mxfp4_blocks"}
        assert checkpoint.unsupported is None
    assert {name.rpartition(".")[2] for name in forms} == {"gate_up_proj", "down_proj"}
    assert forms["model.layers.0.mlp.experts.gate_up_proj"].shape == (4, 384, 256)
    assert forms["model.layers.0.mlp.experts.down_proj"].shape == (4, 256, 192)


def test_lying_arrays_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    name = "model.layers.1.mlp.experts.down_proj"
    good = load_file(folders[0] / "model.safetensors")
    start_folder(build("gpt_oss"), tmp_path, {})
    (tmp_path / "config.json").write_bytes((folders[0] / "config.json").read_bytes())
    nan = good[f"{name}_scales"].copy()
    nan[2, 5, 1] = 255
    for change, said in (
        ({f"{name}_scales": good[f"{name}_scales"][:, :-1]}, r"down_proj.*\(4, 256, 6, 16\).*\(4, 255, 6\)"),
        ({f"{name}_scales": None}, r"down_proj.*stored as blocks uint8; expected blocks and scales"),
        ({f"{name}_scales": good[f"{name}_scales"].astype(np.float32)}, r"down_proj.*uint8, scales float32; expected"),
        ({f"{name}_scales": nan}, r"down_proj.*\(2, 5, 1\)"),
    ):
        tensors = {n: a for n, a in {**good, **change}.items() if a is not None}
        save_file({n: np.ascontiguousarray(a) for n, a in tensors.items()}, tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError, match=said):
            load_model(open_checkpoint(tmp_path))
