"""bitsandbytes' arrays under gptqmodel's names, against gptqmodel itself (tools/fixtures/gptqmodel_bnb.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError
from localq.formats import find
from tests.factories.tiny import build
from tests.packed.fixtures import assert_same, read, variants, write
from tests.packed.models import Packed, Packer, compare, write_both
from tests.packed.native import decoded_by_mlx
from tests.packed.test_models_codes import nf4

VARIANTS = variants("gptqmodel_bnb.safetensors")
FORMS = {
    **{"nf4": "bnb_nf4_g64", "nf4_double": "bnb_nf4_g64_double", "fp4_double": "bnb_fp4_g128_double"},
    "int8": "bnb_int8_scb",
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_gptqmodels(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    t = read(tmp_path, variant.parts, variant.config)
    assert t.format.name == FORMS[name] and find(FORMS[name]) is t.format
    assert_same(t, variant)
    np.testing.assert_array_equal(t.rows(np.array([5, 0])).dequantize(), t.dequantize()[[5, 0]])


def test_int8_is_exact_in_mlx(tmp_path: Path) -> None:
    t = read(tmp_path, VARIANTS["int8"].parts, VARIANTS["int8"].config)
    held = t.format.to_native(t)
    assert held is not None and held.exactness == "exact"
    np.testing.assert_array_equal(decoded_by_mlx(t), t.dequantize())


def test_a_rule_for_one_module_names_its_table(tmp_path: Path) -> None:
    variant = VARIANTS["fp4_double"]
    config = {**variant.config, "format": "nf4", "dynamic": {r".*\.up_proj": {"format": "fp4"}}}
    assert_same(read(tmp_path, variant.parts, config), variant)


@pytest.mark.parametrize(
    ("name", "format_", "said"),
    [
        ("nf4_double", "int8", "the config's format is 'int8', not nf4 or fp4"),
        ("nf4_double", "fp4", "quant_state says 'nf4'; its name says 'fp4'"),
    ],
)
def test_a_config_of_another_table(tmp_path: Path, name: str, format_: str, said: str) -> None:
    variant = VARIANTS[name]
    with pytest.raises(CheckpointError, match=said):
        open_checkpoint(write(tmp_path, variant.parts, {**variant.config, "format": format_}))


@pytest.mark.parametrize(("name", "part"), [("nf4", "weight_absmax"), ("int8", "weight_scb")])
def test_scales_that_are_no_numbers(tmp_path: Path, name: str, part: str) -> None:
    variant = VARIANTS[name]
    broken = variant.parts[part].copy()
    broken[3] = np.nan
    with pytest.raises(CheckpointError, match=r"1 scales that make no weights, the first at \(3,\): nan"):
        read(tmp_path, {**variant.parts, part: broken}, variant.config)


def test_a_whole_model(tmp_path: Path) -> None:
    """The arrays are bitsandbytes', which test_models_codes.py shows; the names and the config are gptqmodel's."""

    def renamed(weight: np.ndarray) -> Packed:
        parts, values = nf4(weight)
        state = "weight.quant_state.bitsandbytes__nf4"
        return {n.replace(state, "weight.quant_state").replace(".", "_"): a for n, a in parts.items()}, values

    def pick(path: str, weight: np.ndarray) -> Packer | None:
        return None if path.endswith(("embed_tokens", "lm_head")) else renamed

    folders = write_both(build("qwen3"), tmp_path, pick, dict(VARIANTS["nf4"].config))
    model, distance = compare(*folders)
    assert distance < 1e-4
    assert {row.format: row.matrices for row in model.report.rows}["bnb_nf4_g64"] == 7 * len(model.layers)
