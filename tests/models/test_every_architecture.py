"""Every architecture of mlx-lm from a folder: packed by MLX, the logits of mlx-lm itself (of the corrected classes).

What mlx-lm cannot run here, or only with packages or hardware of its own, is listed with the reason.
"""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from localq.checkpoints.detect import open_checkpoint
from localq.models import corrected
from localq.models.architecture import find_classes
from localq.models.loader import load_model
from tests.factories.every import config, model_types
from tests.models.folders import IDS, packed_logits, write_random

NOT_HERE = {
    "muse_spark": "its attention is a Metal kernel of mlx-lm's own",
    "phi3small": "its block-sparse mask is right for whole prompts only",
    "prism_hadamard_qwen35": "rotates activations at run time",
}
DENSE = {"afm7": "its fused layers cannot be quantised by mlx-lm"}
BOUND = 1e-5


def plain(folder: Path) -> np.ndarray:
    """mlx-lm's logits of a folder, with the classes localq takes."""
    from mlx_lm.utils import load_model as load

    model, _ = load(folder, get_model_classes=find_classes)
    model.set_dtype(mx.float32)
    return np.array(model(mx.array([IDS]))[0])


@pytest.mark.parametrize("model_type", model_types())
def test_packed_folder(model_type: str, tmp_path: Path) -> None:
    if model_type in NOT_HERE:
        pytest.skip(NOT_HERE[model_type])
    packing = None if model_type in DENSE else {"group_size": 32, "bits": 4}
    folder = write_random(tmp_path / "m", config(model_type), quantization=packing)
    want = plain(folder)
    with open_checkpoint(str(folder)) as checkpoint:
        model, _ = load_model(checkpoint, mx.float32)
    got, real = packed_logits(model), np.isfinite(want)
    assert np.array_equal(np.isfinite(got), real) and real.mean() > 0.9
    assert np.abs(got[real] - want[real]).max() < BOUND * np.ptp(want[real])
    if packing is not None:
        dense = sum(v.nbytes for _, v in tree_flatten(model.parameters()))
        assert dense < 0.5 * sum(checkpoint.specs[name].nbytes for name in checkpoint), "most weights stay packed"


def test_the_corrected_are_mlx_lm_s() -> None:
    """Each is a subclass of mlx-lm's model: nothing here runs an architecture that mlx-lm does not have."""
    folder = Path(corrected.__file__).parent
    for name in sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_")):
        found = corrected.find(name)
        assert found is not None
        assert any(base.__module__.startswith("mlx_lm.models.") for base in found[0].__mro__), name
