"""Config keys that change the answers are computed or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localq.checkpoints.detect import open_checkpoint
from localq.errors import UnsupportedError
from localq.models.loader import load_model
from tests.factories import build, more, newest, write_hf
from tests.factories.every import config
from tests.models.folders import difference, edit_config, packed_logits, write_random

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}


def logits(folder: Path) -> Any:
    with open_checkpoint(folder) as checkpoint:
        return packed_logits(load_model(checkpoint)[0])


@pytest.mark.parametrize("arch", ["plamo", "plamo3"])
def test_a_rope_scaling_nobody_computes_is_refused(arch: str, tmp_path: Path) -> None:
    folder = more.write_folder(more.make(arch, newest.CASES[arch], rope_scaling=YARN), tmp_path)
    with pytest.raises(UnsupportedError, match="'yarn', factor 4.0.*computes none"):
        logits(folder)


@pytest.mark.parametrize("arch", ["llama", "qwen3", "mixtral", "qwen3_moe", "gemma2"])
def test_a_rope_scaling_that_is_computed_is_not(arch: str, tmp_path: Path) -> None:
    plain = logits(write_hf(build(arch), tmp_path / "a"))
    assert difference(logits(write_hf(build(arch, rope_scaling=YARN), tmp_path / "b")), plain) > 0.01


@pytest.mark.parametrize(("arch", "act"), [("llama", "gelu"), ("qwen2", "relu"), ("gemma2", "relu2")])
def test_an_activation_the_architecture_has_not(arch: str, act: str, tmp_path: Path) -> None:
    folder = write_hf(build(arch), tmp_path)
    edit_config(folder, hidden_act=act)
    if arch == "gemma2":
        edit_config(folder, hidden_activation=act)
    with pytest.raises(UnsupportedError, match=act):
        logits(folder)


@pytest.mark.parametrize("arch", ["llama", "qwen3_moe", "gemma3"])
def test_rope_parameters_of_transformers_5(arch: str, tmp_path: Path) -> None:
    """The same model with its rope spelled in the newer way."""
    right = logits(write_hf(build(arch, rope_theta=5e5), tmp_path / "a"))
    folder = write_hf(build(arch, rope_theta=5e5), tmp_path / "b")
    plain = {"rope_type": "default", "rope_theta": 5e5}
    local = {"rope_type": "default", "rope_theta": 1e4}
    both = {"full_attention": plain, "sliding_attention": local}
    edit_config(folder, rope_theta=None, rope_local_base_freq=None, rope_parameters=both if arch == "gemma3" else plain)
    assert difference(logits(folder), right) == 0.0


@pytest.mark.parametrize(("local", "runs"), [(10000.0, True), (500000.0, False)])
def test_bases_of_kinds_of_layers(local: float, runs: bool, tmp_path: Path) -> None:
    """OLMo 3 as transformers 5 writes it: mlx-lm takes the base of full attention for both kinds."""
    folder = write_random(tmp_path / "m", config("olmo3"))
    want, kinds = logits(folder), {"full_attention": 10000.0, "sliding_attention": local}
    edit_config(folder, rope_parameters={k: {"rope_type": "default", "rope_theta": base} for k, base in kinds.items()})
    if runs:
        assert difference(logits(folder), want) == 0
    else:
        with pytest.raises(UnsupportedError, match="different bases.*olmo3"):
            logits(folder)


def test_layers_that_have_no_pattern(tmp_path: Path) -> None:
    folder = write_random(tmp_path / "m", config("cohere2"))
    sliding, full = "sliding_attention", "full_attention"
    edit_config(folder, layer_types=[sliding, full, sliding, full], sliding_window_pattern=2)
    logits(folder)
    edit_config(folder, layer_types=[full, sliding, sliding, full])
    with pytest.raises(UnsupportedError, match="layer 0 is 'full_attention'.*cohere2"):
        logits(folder)
