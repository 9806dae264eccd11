"""Phi-MoE's two lists of frequency factors: the context a model is opened with decides, as for Phi-3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import localq
from tests.factories import more, newest
from tests.models.folders import plain_logits
from tests.oracles.golden import IDS

SHORT, LONG = [1.0 + 0.01 * i for i in range(32)], [1.0 + 0.5 * i for i in range(32)]


@pytest.mark.parametrize(("context", "factors"), [(64, SHORT), (8192, LONG)])
def test_phimoe(context: int, factors: list[float], tmp_path: Path) -> None:
    case = newest.CASES["phimoe_long"]
    scaling = {**case.config["rope_scaling"], "short_factor": SHORT, "long_factor": LONG}
    model = more.make("phimoe_long", case, rope_scaling=scaling)
    with localq.load(str(more.write_folder(model, tmp_path / "both")), engine="mlx", context=context) as ours:
        found = ours.logits(IDS)
    model.config["rope_scaling"] = {**scaling, "long_factor": factors}  # mlx-lm takes this one always
    right = plain_logits(more.write_folder(model, tmp_path / "one"), IDS)
    assert np.abs(found - right).max() < 1e-5 * np.ptp(right)
