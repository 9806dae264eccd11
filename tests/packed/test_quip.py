"""QuIP# against the authors' own Python (tools/fixtures/quip.py): points bit for bit, rotated weights in float64."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.formats import find
from localq.formats.base import PackedTensor
from localq.formats.hadamard_orders import ORDERS, factors, odd_matrix, product, sylvester
from localq.formats.quip import QuIP
from tests.factories.files import save_weights, start_folder
from tests.factories.tiny import build
from tests.packed import rawfile
from tests.packed.fixtures import Variant, digest, shown, stored, variants
from tests.packed.models import compare

PROVES = {"quip"}
FILE = "quip.safetensors"
VARIANTS = variants(FILE)
SIZES = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}
LAYER = "model.layers.0"


def parts_of(name: str) -> dict[str, np.ndarray]:
    return {part: value for part, value in VARIANTS[name].parts.items() if part != "weights"}


def save(folder: Path, modules: dict[str, dict[str, np.ndarray]], params: dict[str, Any], **sizes: Any) -> Path:
    """A folder of these modules as hfize_llama.py leaves it."""
    stored = {f"{LAYER}.{m}.{part}": value for m, parts in modules.items() for part, value in parts.items()}
    save_file(stored, folder / "model.safetensors")
    config = {"model_type": "llama", **SIZES, "quip_params": params, **sizes}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def opened(folder: Path, name: str, module: str = "mlp.down_proj") -> PackedTensor:
    with open_checkpoint(save(folder, {module: parts_of(name)}, VARIANTS[name].config)) as checkpoint:
        assert checkpoint.unsupported is None, checkpoint.unsupported
        return checkpoint[f"{LAYER}.{module}.weight"]


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "2_qkv"])
def test_points_and_weights_are_the_authors(tmp_path: Path, name: str) -> None:
    variant: Variant = VARIANTS[name]
    t = opened(tmp_path, name)
    assert t.shape == variant.shape and find(t.format.name) is t.format
    points = QuIP.points.__func__(t.format, t)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(shown(points), variant.rows)
    assert digest(points) == variant.sha256
    weights = t.dequantize()
    bound = 2e-6 * np.abs(weights).max()  # float32 sums of at most 832 terms, against float64
    np.testing.assert_allclose(weights[[1, -2]], variant.parts["weights"], atol=bound, rtol=0)
    for index in (slice(3, 11), slice(None, None, 5), np.array([15, 0, 7, 7])):
        np.testing.assert_array_equal(t.rows(index).dequantize(), weights[index])
    assert t.format.join_rows([t, t]) is None and not t.format.has_native(t)


def test_fused_matrices_are_cut_into_their_pieces(tmp_path: Path) -> None:
    variant = VARIANTS["2_qkv"]
    with open_checkpoint(save(tmp_path, {"self_attn.qkv_proj": parts_of("2_qkv")}, variant.config)) as checkpoint:
        assert checkpoint.unsupported is None, checkpoint.unsupported
        names = [f"{LAYER}.self_attn.{piece}_proj.weight" for piece in "qkv"]
        assert list(checkpoint.specs) == names
        assert [checkpoint.specs[n].shape for n in names] == [(64, 64), (32, 64), (32, 64)]
        tensors = [checkpoint[n] for n in names]
        whole = np.concatenate([t.dequantize() for t in tensors])
        np.testing.assert_allclose(whole[[1, -2]], variant.parts["weights"], atol=2e-6 * np.abs(whole).max(), rtol=0)
        assert all(find(t.format.name) is t.format for t in tensors)
        np.testing.assert_array_equal(tensors[1].rows(slice(4, 9)).dequantize(), whole[68:73])
        assert sum(t.nbytes for t in tensors) <= sum(p.nbytes for p in parts_of("2_qkv").values())


def test_a_matrix_of_its_own_may_have_the_name_of_a_piece(tmp_path: Path) -> None:
    t = opened(tmp_path, "2_plain", "mlp.up_proj")
    assert t.shape == VARIANTS["2_plain"].shape and t.format is QuIP.of(2)


def test_hadamard_matrices_are_the_authors() -> None:
    orders = stored(FILE)[1]["2_plain"]["orders"]
    for order in ORDERS:
        assert hashlib.sha256(odd_matrix(order).astype(np.int8).tobytes()).hexdigest() == orders[str(order)]
    assert len(orders) == len(ORDERS)


def test_lengths_of_rotations() -> None:
    assert [factors(n) for n in (4096, 11008, 13824, 12288, 22016)] == [
        (1, 4096),
        (172, 64),
        (108, 128),
        (12, 1024),
        (172, 128),
    ]
    assert factors(14336) == (28, 512) and factors(28672) == (28, 1024) and factors(24) == (12, 2)
    assert factors(44 * 64) is None and factors(120) == (60, 2) and factors(0) is None
    x = np.random.default_rng(0).standard_normal((3, 640)).astype(np.float32)
    np.testing.assert_allclose(product(product(x), transposed=True), x, atol=1e-5)
    h = np.array([[1.0]])
    while len(h) < 1024:
        h = np.block([[h, h], [h, -h]])
    long = np.random.default_rng(1).standard_normal((2, 1024)).astype(np.float32)
    np.testing.assert_allclose(sylvester(long), long @ h, atol=1e-4)


GOOD = VARIANTS["3_rescaled"]
DAMAGE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no signs": ({"SV": None}, {}, "lacks its part 'SV'"),
    "columns": ({"Qidxs": GOOD.parts["Qidxs"][:, :-1]}, {}, r"expected int64 \[out, in / 64 \* 3\]"),
    "rows": (
        {"Qidxs": GOOD.parts["Qidxs"][:-1], "SV": GOOD.parts["SV"][:-1]},
        {},
        "no multiple of quip_3bit's 16 rows",
    ),
    "dtype": ({"Qidxs": GOOD.parts["Qidxs"].astype(np.int32)}, {}, "expected int64"),
    "no rotation": ({"Qidxs": np.zeros((16, 44 * 3), np.int64)}, {}, "has no rotation of QuIP#'s"),
    "book": ({"codebook_id": np.array(7)}, {}, "quip_params say codebook 'E8P12RVQ3B'; codebook_id 7 has 'E8P12'"),
    "no book": ({"codebook_id": None}, {}, "scalar 'codebook_id', which is not stored"),
    "nan": ({"SU": np.full(128, np.nan, np.float16)}, {}, "nan; expected finite"),
    "rescaled": ({"scaleWH": None}, {}, "rescale_WH True"),
    "not rescaled": ({}, {"rescale_WH": False}, "rescale_WH False"),
    "divisor": ({}, {"resid_scale_override": "x"}, "'x'; a number was expected"),
    "fused": ({"fuse_scales": np.ones(2, np.float32)}, {}, "fuse_scales"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_tensor_found_and_expected(tmp_path: Path, case: str) -> None:
    change, config, said = DAMAGE[case]
    parts = {n: a for n, a in {**parts_of("3_rescaled"), **change}.items() if a is not None}
    save(tmp_path, {"mlp.down_proj": parts}, {**GOOD.config, **config})
    with pytest.raises(CheckpointError, match=said) as error:
        with open_checkpoint(tmp_path) as checkpoint:
            assert checkpoint.unsupported is None, checkpoint.unsupported
            checkpoint[f"{LAYER}.mlp.down_proj.weight"]
    assert "down_proj" in str(error.value)


@pytest.mark.parametrize(
    ("parts", "config", "said"),
    [
        ({"codebook_id": np.array(2)}, {}, "codebook_id is 2; localq knows 7"),
        ({}, {"codebook_version": 1}, "codebook_version 1"),
        ({}, {"lora_rank": 8}, "lora_rank 8"),
        ({}, {"model_version": 0}, "model_version is 0; localq knows 1"),
    ],
)
def test_older_versions_are_refused_by_name(
    tmp_path: Path, parts: dict[str, Any], config: dict[str, Any], said: str
) -> None:
    save(tmp_path, {"mlp.down_proj": {**parts_of("3_rescaled"), **parts}}, {**GOOD.config, **config})
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.unsupported is not None and said in checkpoint.unsupported
        with pytest.raises(UnsupportedError):
            checkpoint[f"{LAYER}.mlp.down_proj.weight"]


def test_sizes_that_do_not_fit_or_are_missing(tmp_path: Path) -> None:
    parts = {"self_attn.qkv_proj": parts_of("2_qkv")}
    config = VARIANTS["2_qkv"].config
    with pytest.raises(CheckpointError, match="q_proj.*expected int64"):
        open_checkpoint(save(tmp_path, parts, config, num_key_value_heads=4))
    with pytest.raises(CheckpointError, match="num_key_value_heads is 0; QuIP# needs a positive integer"):
        open_checkpoint(save(tmp_path, parts, config, num_key_value_heads=0))
    with pytest.raises(CheckpointError, match="qkv_proj' lacks its 'fuse_scales'"):
        open_checkpoint(save(tmp_path, {"self_attn.qkv_proj": parts_of("2_plain")}, config))
    both = {**parts, "self_attn.k_proj": parts_of("2_plain")}
    with pytest.raises(
        CheckpointError, match=r"k_proj.weight' is stored twice, once as a piece of 'qkv_proj'|stored twice"
    ):
        open_checkpoint(save(tmp_path, both, config))


def test_another_programs_quip_and_qtip_are_refused(tmp_path: Path) -> None:
    parts = {"trellis": np.zeros((16, 64), np.int16), "SU": np.ones(64, np.float16), "SV": np.ones(64, np.float16)}
    save(tmp_path, {"mlp.down_proj": parts}, {"L": 16, "K": 2, "V": 2, "tlut_bits": 9})
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.unsupported is not None and "QTIP" in checkpoint.unsupported
    config = {"model_type": "llama", "quantization_config": {"quant_method": "quip", "codebook": "E8P12"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.unsupported is not None and "another program's" in checkpoint.unsupported


FUSED = {"self_attn.qkv_proj": "qkv", "mlp.upgate_proj": ("up", "gate")}


def quantised(rng: np.random.Generator, out: int, width: int, pieces: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random arrays of a matrix, and its weights by matrices written out, in float64."""
    t = QuIP.of(2).sample((out, width), rng)
    parts = {name: np.array(part) for name, part in t.parts.items()}
    parts["SV"] = (rng.choice([-0.02, 0.02], out)).astype(np.float16)
    sides = []
    for length in (out, width):
        odd, rest = factors(length) or (0, 0)
        power = np.array([[1.0]])
        while len(power) < rest:
            power = np.kron(power, [[1.0, 1.0], [1.0, -1.0]])
        sides.append(np.kron(odd_matrix(odd), power) / np.sqrt(length))
    weights = sides[0] @ QuIP.of(2).points(t) @ sides[1].T * parts["SU"] * parts["SV"][:, None].astype(float)
    if pieces:
        parts["fuse_scales"] = rng.uniform(0.5, 1.5, pieces).astype(np.float32)
    return parts, weights


def test_logits_of_a_whole_model(tmp_path: Path) -> None:
    """A tiny Llama with fused matrices, as published, against the same model dequantised and cut."""
    model = build("llama")
    rng = np.random.default_rng(5)
    packed, dense = dict(model.weights), dict(model.weights)
    for layer in range(1):  # the other stays as it is: its products would only take time
        stem = f"model.layers.{layer}"
        for fused, names in (*FUSED.items(), ("self_attn.o_proj", ""), ("mlp.down_proj", "")):
            path = f"{stem}.{fused}"
            each = [f"{path.rpartition('.')[0]}.{name}_proj.weight" for name in names] or [f"{path}.weight"]
            rows = [len(model.weights[name]) for name in each]
            parts, weights = quantised(rng, sum(rows), model.weights[each[0]].shape[1], len(names))
            packed |= {f"{path}.{part}": array for part, array in parts.items()}
            for i, (name, cut) in enumerate(zip(each, np.split(weights, np.cumsum(rows)[:-1]), strict=True)):
                dense[name] = (cut * (parts["fuse_scales"][i] if names else 1)).astype(np.float32)
                packed.pop(name)
    folders = start_folder(model, tmp_path / "packed", {}), start_folder(model, tmp_path / "dense", {})
    rawfile.save(folders[0] / "model.safetensors", packed)
    save_weights(folders[1], dense)
    config = json.loads((folders[0] / "config.json").read_text())
    (folders[0] / "config.json").write_text(json.dumps({**config, "quip_params": VARIANTS["2_plain"].config}))
    loaded, distance = compare(*folders)
    assert distance < 1e-4
    assert sum(row.way == "reference" for row in loaded.report.rows if row.format.startswith("quip")) > 0
