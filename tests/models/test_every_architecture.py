"""Every architecture of mlx-lm from a folder: packed by MLX, the logits of mlx-lm itself (of the corrected classes).

What mlx-lm cannot run here, or only with packages or hardware of its own, is listed with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache

from localq.checkpoints.base import TensorSpec
from localq.checkpoints.detect import open_checkpoint
from localq.models import corrected
from localq.models.architecture import find_classes
from localq.models.loader import load_model
from tests.factories.every import config, model_types
from tests.models.folders import IDS, packed_logits, stay_packed, write_random

NOT_HERE = {
    "muse_spark": "its attention is a Metal kernel of mlx-lm's own",
    "phi3small": "its block-sparse mask is right for whole prompts only",
    "prism_hadamard_qwen35": "rotates activations at run time",
}
DENSE = {"afm7": "its fused layers cannot be quantised by mlx-lm"}
BOUND = 1e-5
PROMPTS = np.random.default_rng(0).integers(1, 300, (2, 80)).tolist()


def plain(folder: Path) -> np.ndarray:
    """mlx-lm's logits of a folder, with the classes localq takes."""
    from mlx_lm.utils import load_model as load

    model, _ = load(folder, get_model_classes=find_classes)
    model.set_dtype(mx.float32)
    return np.array(model(mx.array([IDS]))[0])


class Loaded(NamedTuple):
    """A folder packed by MLX, what localq made of it, and mlx-lm's logits."""

    model_type: str
    model: Any
    specs: Mapping[str, TensorSpec]
    right: np.ndarray


@pytest.fixture(scope="module", params=model_types())
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    model_type = request.param
    if model_type in NOT_HERE:
        pytest.skip(NOT_HERE[model_type])
    packing = None if model_type in DENSE else {"group_size": 32, "bits": 4}
    folder = write_random(tmp_path_factory.mktemp("every") / "m", config(model_type), quantization=packing)
    with open_checkpoint(str(folder)) as checkpoint:
        model, _ = load_model(checkpoint, mx.float32)
        return Loaded(model_type, model, checkpoint.specs, plain(folder))


def test_packed_folder(loaded: Loaded) -> None:
    got, real = packed_logits(loaded.model), np.isfinite(loaded.right)
    assert np.array_equal(np.isfinite(got), real) and real.mean() > 0.9
    assert np.abs(got[real] - loaded.right[real]).max() < BOUND * np.ptp(loaded.right[real])


def test_packed_weights_stay_packed(loaded: Loaded) -> None:
    """To the byte."""
    assert (stay_packed(loaded.model, loaded.specs) == 0) == (loaded.model_type in DENSE)


@pytest.mark.parametrize("cuts", [(37, 78, 79), (5, 6, 70, 78, 79)])
def test_a_prompt_in_pieces_is_the_prompt(loaded: Loaded, cuts: tuple[int, ...]) -> None:
    """Longer than windows and chunks of the tiny configs (64), pieces of several tokens and of one."""
    cache, found = make_prompt_cache(loaded.model), []
    for start, stop in zip((0, *cuts), (*cuts, len(PROMPTS[0])), strict=True):
        found.append(np.array(loaded.model(mx.array([PROMPTS[0][start:stop]]), cache=cache)[0]))
    assert _apart(np.concatenate(found), whole(loaded.model, PROMPTS[:1])[0]) < BOUND


def test_prompts_in_a_batch_are_the_prompts(loaded: Loaded) -> None:
    both = whole(loaded.model, PROMPTS)
    for row, prompt in zip(both, PROMPTS, strict=True):
        assert _apart(row, whole(loaded.model, [prompt])[0]) < BOUND


def whole(model: Any, prompts: list[list[int]]) -> np.ndarray:
    return np.array(model(mx.array(prompts), cache=make_prompt_cache(model)))


def _apart(got: np.ndarray, want: np.ndarray) -> float:
    real = np.isfinite(want)
    assert np.array_equal(np.isfinite(got), real)
    return float(np.abs(got[real] - want[real]).max() / np.ptp(want[real]))


def test_the_corrected_are_mlx_lm_s() -> None:
    """Each is a subclass of mlx-lm's model: nothing here runs an architecture that mlx-lm does not have."""
    folder = Path(corrected.__file__).parent
    for name in sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_")):
        found = corrected.find(name)
        assert found is not None
        assert any(base.__module__.startswith("mlx_lm.models.") for base in found[0].__mro__), name
