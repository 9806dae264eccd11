"""RWKV 7 as flash-linear-attention has published it over time: one model in every form gives the same logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import localq
from tests.factories import more, rwkv
from tests.factories.tiny import Weights
from tests.models.folders import plain_logits
from tests.oracles.golden import IDS

RANKS = dict.fromkeys(("a_low_rank_dim", "v_low_rank_dim", "decay_low_rank_dim", "gate_low_rank_dim"))


def fused(weights: Weights) -> Weights:
    """The six mixes of a layer in one tensor."""
    out = {name: w for name, w in weights.items() if not name.endswith(tuple(rwkv._MIXES))}
    for i in range(3):
        rows = [weights[f"model.layers.{i}{mix}"].reshape(-1) for mix in rwkv._MIXES]
        out[f"model.layers.{i}.attn.x_x"] = np.stack(rows)
    return out


def with_dummies(weights: Weights) -> Weights:
    """A value mix in the first layer, which nobody reads."""
    first, second = "model.layers.0.attn.v_lora.", "model.layers.1.attn.v_lora."
    return weights | {first + name.removeprefix(second): w for name, w in weights.items() if name.startswith(second)}


def logits(folder: Path) -> NDArray[np.float32]:
    with localq.load(str(folder), engine="mlx", context=64) as model:
        return model.logits(IDS)


@pytest.mark.parametrize("change", [dict, fused, with_dummies])
def test_forms_of_the_weights(change: Callable[[Weights], Weights], tmp_path: Path) -> None:
    model = more.make("rwkv7", rwkv.CASES["rwkv7"])
    right = plain_logits(more.write_folder(model, tmp_path / "right"), IDS)
    changed = replace(model, weights=change(model.weights))
    found = logits(more.write_folder(changed, tmp_path / "changed"))
    assert np.abs(found - right).max() < 1e-4 * np.ptp(right)


def test_sizes_left_out(tmp_path: Path) -> None:
    """Ranks and the width of the feed-forward layers follow from the hidden size."""
    sizes = {"a_low_rank_dim": 32, "v_low_rank_dim": 32, "decay_low_rank_dim": 32, "gate_low_rank_dim": 64}
    model = more.make("rwkv7", rwkv.CASES["rwkv7"], **{**sizes, "intermediate_size": 1024})
    right = plain_logits(more.write_folder(model, tmp_path / "right"), IDS)
    model.config.update({**RANKS, "intermediate_size": None, "hidden_ratio": 4.0})
    found = logits(more.write_folder(model, tmp_path / "without"))
    assert np.abs(found - right).max() < 1e-4 * np.ptp(right)
