"""`localq choose` against a loopback hub: builds found, sizes from listings, one marked."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from localq.cli.main import main
from tests.fit.configs import tiny
from tests.hub.conftest import hub  # noqa: F401  the fixture
from tests.hub.server import Hub

NAME = "Qwen3-0.6B"


@pytest.fixture
def builds(hub: Hub) -> Hub:  # noqa: F811
    """Three repositories of one model, and one of another."""
    config = json.dumps(tiny("qwen3")).encode()
    weights = save({"model.embed_tokens.weight": np.zeros((320, 64), np.float32)})
    hub.add(f"Qwen/{NAME}", {"config.json": config, "model.safetensors": weights}, downloads=50)
    ggufs = {f"{NAME}-Q4_K_M.gguf": bytes(60_000), f"{NAME}-Q8_0.gguf": bytes(110_000)}
    hub.add(f"someone/{NAME}-GGUF", ggufs, downloads=20)
    hub.add("Qwen/Qwen3-4B-AWQ", {"config.json": config, "model.safetensors": weights}, downloads=90)
    return hub


def test_every_build_of_the_model_and_no_other(builds: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", NAME, "--machine", "M4 Pro 48GB", "--context", "512", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    sizes = {b["ref"]: b["bytes"] for b in found["builds"]}
    assert sizes[f"someone/{NAME}-GGUF:Q4_K_M"] == 60_000
    assert set(sizes) == {f"Qwen/{NAME}", f"someone/{NAME}-GGUF:Q4_K_M", f"someone/{NAME}-GGUF:Q8_0"}
    assert found["take"] == f"someone/{NAME}-GGUF:Q4_K_M"


def test_the_table_marks_one_and_says_why(builds: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", NAME, "--machine", "M4 Pro 48GB", "--context", "512", "--task", "coding"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("->") == 1 and "Take " in shown and "0.0014" in shown


def test_nothing_fits_is_exit_code_4(builds: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", NAME, "--memory", "16MB"]) == 4
    assert "Nothing fits" in capsys.readouterr().out


def test_the_curve_is_written_whole_or_not_at_all(builds: Hub, tmp_path: Path) -> None:
    picture = tmp_path / "curve.svg"
    assert main(["choose", NAME, "--machine", "RTX 4090", "--curve", "-o", str(picture)]) == 0
    assert picture.read_text().startswith("<svg") and not list(tmp_path.glob("*.part"))
    assert main(["choose", NAME, "-o", str(picture)]) == 2


def test_a_model_that_does_not_exist_is_exit_code_3(builds: Hub) -> None:
    assert main(["choose", "Frobnet-7B"]) == 3
