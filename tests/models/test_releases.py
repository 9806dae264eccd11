"""Configs of published models, built without weights: as many parameters as published, caches as the plan says."""

from __future__ import annotations

import pytest
from mlx.utils import tree_flatten

from localq.fit.caches import bytes_per_token
from localq.fit.plans import plan
from localq.models.architecture import build
from tests.models.releases import RELEASES


@pytest.mark.parametrize("name", RELEASES)
def test_number_of_weights_is_the_published_one(name: str) -> None:
    """mlx-lm's parameters are lazy: nothing is allocated, a model of a trillion weights is as quick as a small one."""
    model = build(RELEASES[name].config)
    tied = RELEASES[name].config.get("tie_word_embeddings")  # some architectures make a head and drop it on load
    counted = [(p, v) for p, v in tree_flatten(model.parameters()) if not (tied and p == "lm_head.weight")]
    weights = sum(value.size for _, value in counted)
    assert weights / 1e9 == pytest.approx(RELEASES[name].billions, rel=0.01)


@pytest.mark.parametrize("name", RELEASES)
def test_bytes_one_more_token_takes(name: str) -> None:
    assert bytes_per_token(plan(RELEASES[name].config), 16) == RELEASES[name].kv
