"""Gemma's checkpoints for phones: every width, layers and embeddings, bit for bit as transformers decodes them."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError
from localq.kernels import registry
from tests.factories import build
from tests.packed.fixtures import NAME, assert_same, read, variants, write
from tests.packed.models import Packed, Packer, compare, decoded, rounded, stream, write_both

PROVES = {"gemma_qat"}
VARIANTS = variants("gemma_qat.safetensors")


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_are_the_peers(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    t = read(tmp_path, variant.parts, variant.config)
    kind, bits, *blocks = name.split("_")
    assert t.format.name == f"gemma_int{bits}" + (f"_table{blocks[0]}" if kind == "table" else "")
    assert_same(t, variant)
    rows = t.rows(slice(3, 9))
    np.testing.assert_array_equal(rows.dequantize(), t.dequantize()[3:9])


@pytest.mark.parametrize("name", VARIANTS)
def test_mlx_holds_them(tmp_path: Path, name: str) -> None:
    t = read(tmp_path, VARIANTS[name].parts, VARIANTS[name].config)
    placed = registry.place(t, mx.float32)
    several = name.endswith("_4") and name.startswith("table")  # a bias for every block, added in float32
    assert placed.ways.way.startswith("native affine")
    assert placed.ways.error < 1e-3 if several else placed.ways.exactness == "exact"
    w = t.dequantize().astype(np.float64)
    x = np.random.default_rng(0).standard_normal((2, 128)).astype(np.float32)
    np.testing.assert_allclose(np.array(placed.matmul(mx.array(x))), x @ w.T, rtol=1e-4, atol=1e-4)
    rows = np.array(placed.embedding(mx.array([5, 0]), mx.float32))
    np.testing.assert_allclose(rows, w[[5, 0]], rtol=1e-5, atol=1e-6)


def test_scales_of_activations_are_told_as_unused(tmp_path: Path) -> None:
    with open_checkpoint(write(tmp_path, VARIANTS["linear_4"].parts, VARIANTS["linear_4"].config)) as checkpoint:
        assert {n.rpartition(".")[2] for n in checkpoint.unused} >= {
            "input_activation_scale",
            "output_activation_scale",
        }


@pytest.mark.parametrize(
    ("name", "change", "config", "says"),
    [
        ("linear_8", {}, {"num_bits": 4, "module_quant_configs": None}, "num_bits 4 where weight is int8"),
        ("linear_4", {}, {"num_bits": 3}, "num_bits 3"),
        ("linear_4", {"weight_scale": np.ones((23, 1), np.float32)}, {}, "23"),
        ("linear_4", {"weight_scale": np.full((24, 1), np.nan, np.float32)}, {}, "weight_scale"),
        ("table_2_4", {"embedding_scale": np.ones((24, 3), np.float32)}, {}, "3 blocks"),
        ("linear_2", {}, {"module_quant_configs": ["x"]}, "module_quant_configs"),
    ],
)
def test_what_contradicts_itself_is_refused(
    tmp_path: Path, name: str, change: dict[str, np.ndarray], config: dict[str, object], says: str
) -> None:
    variant = VARIANTS[name]
    folder = write(tmp_path, {**variant.parts, **change}, {**variant.config, **config})
    with pytest.raises(CheckpointError, match=says), open_checkpoint(folder) as checkpoint:
        assert checkpoint.unsupported is None
        checkpoint[f"{NAME}.weight"].dequantize()


def packer(bits: int, table: bool) -> Packer:
    def pack(weight: np.ndarray) -> Packed:
        half = 1 << (bits - 1)
        scale = (np.abs(weight).max(axis=1, keepdims=True) / half).astype(np.float32)
        codes = np.clip(np.rint(weight / scale), -half, half - 1).astype(np.int8)
        stored = codes
        if bits < 8:
            each = (codes + half).astype(np.uint8).reshape(len(codes), -1, 8 // bits)
            stored = sum((each[..., i] << (bits * i) for i in range(8 // bits)), np.zeros((), np.uint8)).astype(
                np.uint8
            )
        names = ("embedding_quantized", "embedding_scale") if table else ("weight", "weight_scale")
        return dict(zip(names, (stored, scale), strict=True)), (codes * scale).astype(np.float32)

    return pack


@pytest.mark.parametrize("arch", ["gemma3", "llama"])
def test_logits_are_those_of_the_dequantised_model(tmp_path: Path, arch: str) -> None:
    """Widths mixed as Google mixes them; gemma3's head is its embedding."""
    own = {r"self_attn": {"num_bits": 4}, r"mlp\.": {"num_bits": 2}}

    def pick(path: str, weight: np.ndarray) -> Packer | None:
        return packer(4 if "self_attn" in path else 2 if ".mlp." in path else 8, "embed_tokens" in path)

    config = {"quant_method": "gemma", "num_bits": 8, "module_quant_configs": own, "quantize_embeddings": True}
    packed, dense = write_both(build(arch), tmp_path, pick, config)
    model, distance = compare(packed, dense)
    assert distance < 1e-4
    assert {"gemma_int2", "gemma_int4", "gemma_int8_table1"} <= {row.format for row in model.report.rows}


def test_the_same_as_w4a16_of_compressed_tensors(tmp_path: Path) -> None:
    """As Google exports it for servers: symmetric 4 bits in groups of 32, the tied embedding in 16 bits."""

    def ct(weight: np.ndarray) -> Packed:
        codes, scales, zeros, index = rounded(weight, 4, 32, symmetric=True)
        parts = {"weight_packed": stream(codes, 4), "weight_scale": scales, "weight_shape": np.array(weight.shape)}
        return parts, decoded(codes, scales, zeros, index)

    scheme = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}
    group = {"targets": ["Linear"], "weights": scheme}
    config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "version": "0.20.0"}
    config |= {"config_groups": {"group_0": group}, "ignore": ["lm_head"]}

    def pick(path: str, weight: np.ndarray) -> Packer | None:
        return None if "embed_tokens" in path else ct

    packed, dense = write_both(build("gemma3"), tmp_path, pick, config)
    model, distance = compare(packed, dense)
    assert distance < 1e-4
    assert {row.format for row in model.report.rows} >= {"ct_int4_g32"}
