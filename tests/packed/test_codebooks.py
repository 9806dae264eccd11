"""AQLM and VPTQ against their packages' own decoders (tools/fixtures/codebooks.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.formats import find
from tests.packed.fixtures import NAME, assert_same, read, variants, write

PROVES = {"aqlm", "vptq"}
VARIANTS = variants("codebooks.safetensors")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_bit_is_the_peers(tmp_path: Path, name: str) -> None:
    variant = VARIANTS[name]
    t = read(tmp_path, variant.parts, variant.config)
    assert_same(t, variant)
    assert find(t.format.name) is t.format
    whole, out = t.dequantize(), t.shape[0]
    for index in (slice(0, 8), slice(3, 11), slice(None, None, 2), np.array([out - 1, 0, 5, 5]), slice(out - 1, out)):
        np.testing.assert_array_equal(t.rows(index).dequantize(), whole[index])
    assert t.format.join_rows([t, t]) is None and not t.format.has_native(t)


AQLM, VPTQ = VARIANTS["aqlm_1x9_1"], VARIANTS["vptq_outliers"]
DAMAGE: dict[str, tuple[Any, dict[str, Any], dict[str, Any], str]] = {
    "no scales": (AQLM, {"scales": None}, {}, "lacks its part 'scales'"),
    "books": (AQLM, {"codebooks": AQLM.parts["codebooks"][:, :-1]}, {}, "2 to 65536 vectors"),
    "code": (AQLM, {"codes": np.full_like(AQLM.parts["codes"], 300)}, {}, "go from 300 to 300; expected -256 to 255"),
    "axes": (AQLM, {"codes": AQLM.parts["codes"][:, :, 0]}, {}, r"codes are \(16, 16\)"),
    "config": (AQLM, {}, {"nbits_per_codebook": 8}, r"nbits_per_codebook 8; codebooks of shape .* say 9"),
    "nan": (AQLM, {"codebooks": np.full_like(AQLM.parts["codebooks"], np.nan)}, {}, "nan; expected finite"),
    "no table": (VPTQ, {"res_centroids.weight": None}, {}, "lacks its part 'res_centroids.weight'"),
    "words": (VPTQ, {"indices": VPTQ.parts["indices"][..., :-1]}, {}, "expected int32"),
    "order": (VPTQ, {"perm": np.zeros(64, np.int16)}, {}, "no order of its 64 inputs"),
    "no order": (VPTQ, {"perm": None}, {}, "enable_perm True, but 'perm' is not stored"),
    "outlier": (VPTQ, {"outlier_indices": np.full((1, 4, 4), 16, np.int16)}, {}, "go up to 16; there are 16 centroids"),
    "lengths": (VPTQ, {}, {"vector_lens": [4, 0]}, "positive integers fit"),
    "pair": (VPTQ, {}, {"num_centroids": 64}, "num_centroids of this module is 64; two integers"),
    "columns": (VPTQ, {}, {"group_size": 64}, "1 tables of 64 columns and 4 of outliers"),
    "no settings": (VPTQ, {}, {"config": {"quant_method": "vptq", "config_for_layers": {}}}, "excludes this module"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_tensor_found_and_expected(tmp_path: Path, case: str) -> None:
    variant, change, config, said = DAMAGE[case]
    parts = {n: a for n, a in {**variant.parts, **change}.items() if a is not None}
    write(tmp_path, parts, settings(variant.config, config))
    with pytest.raises(CheckpointError, match=said) as error:
        with open_checkpoint(tmp_path) as checkpoint:
            if checkpoint.unsupported:
                raise UnsupportedError(checkpoint.unsupported)
            checkpoint[f"{NAME}.weight"]
    assert NAME in str(error.value)


def settings(config: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    if "config" in change:
        return dict(change["config"])
    own = json.loads(json.dumps(config))
    place = own["config_for_layers"][NAME] if "config_for_layers" in own else own
    place.update(change)
    return own


@pytest.mark.parametrize("change", [{"is_indice_packed": False}, {"indices_as_float": True}])
def test_unpacked_indices_are_refused_by_name(tmp_path: Path, change: dict[str, Any]) -> None:
    with open_checkpoint(write(tmp_path, VPTQ.parts, settings(VPTQ.config, change))) as checkpoint:
        assert checkpoint.unsupported is not None and "not packed into int32" in checkpoint.unsupported
