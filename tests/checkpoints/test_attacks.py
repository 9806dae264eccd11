"""Every hostile checkpoint gives a `CheckpointError` that names the fault, in under a second and under 100 MB."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError
from tests.attacks import ARCHITECTURE, Attack, gguf, gguf_attacks, info
from tests.attacks_safetensors import GOOD, safetensors, safetensors_attacks

ATTACKS = {attack.name: attack for attack in (*gguf_attacks(), *safetensors_attacks())}
ROOT = Path(__file__).parents[2]


def test_every_attack_has_its_own_name() -> None:
    assert len(ATTACKS) == len([*gguf_attacks(), *safetensors_attacks()])


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All attacks opened in one fresh process; peak memory can only grow there, so each growth is an attack's own."""
    jobs = []
    for number, attack in enumerate(ATTACKS.values()):
        folder = tmp_path_factory.mktemp(f"attack{number}")
        jobs.append((attack.name, str(attack.write(folder))))
    child = subprocess.run(
        [sys.executable, "-m", "tests.checkpoints.open_all"],
        cwd=ROOT,
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    return {report["name"]: report for report in json.loads(child.stdout)}


@pytest.mark.parametrize("name", ATTACKS)
def test_refused(name: str, reports: dict[str, Any]) -> None:
    report = reports[name]
    assert "CheckpointError" in report["kinds"], f"{report['kinds'][:1]}: {report['message']}"
    assert re.search(ATTACKS[name].says, report["message"]), report["message"]
    assert len(report["message"]) < 1500, "a hostile name floods the message"
    assert "\x1b" not in report["message"]
    assert report["seconds"] < 1
    assert report["grown_mib"] < 100


def test_all_attacks_together_stay_under_the_budget(reports: dict[str, Any]) -> None:
    assert sum(report["grown_mib"] for report in reports.values()) < 100


def test_the_harness_can_fail(tmp_path: Path) -> None:
    """The builders' honest files open: an attack is refused for its lie, not for the way it is built."""
    path = Attack("good", {"x.gguf": gguf(infos=[info("t", (8,))], keys=[], data=bytes(32))}, "").write(tmp_path)
    assert open_checkpoint(path)["t"].shape == (8,)
    path = Attack("good", {"x.safetensors": safetensors(GOOD, bytes(8))}, "").write(tmp_path)
    assert open_checkpoint(path)["a"].shape == (2,)
    assert gguf([ARCHITECTURE]).count(b"llama") == 1


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links here")
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "model.safetensors.index.json"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    inside, outside = tmp_path / "model", tmp_path / "secret"
    inside.mkdir()
    outside.write_bytes(safetensors(GOOD, bytes(8)))
    (inside / "other.safetensors").write_bytes(safetensors(GOOD, bytes(8)))
    (inside / name).symlink_to(outside)
    with pytest.raises(CheckpointError, match="outside its checkpoint"):
        open_checkpoint(inside)


def test_links_of_the_hub_cache_are_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--o--n/blobs", tmp_path / "models--o--n/snapshots/abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "123").write_bytes(safetensors(GOOD, bytes(8)))
    (snapshot / "model.safetensors").symlink_to("../../blobs/123")
    assert list(open_checkpoint(snapshot)) == ["a"]


def test_links_into_the_blobs_that_repositories_share_are_followed(tmp_path: Path) -> None:
    """huggingface_hub 2: `models--o--n/blobs/ETAG` is itself a link to `blobs/AB/XETHASH` of the cache."""
    shared, blobs = tmp_path / "blobs/ab", tmp_path / "models--o--n/blobs"
    snapshot = tmp_path / "models--o--n/snapshots/abc"
    for folder in (shared, blobs, snapshot):
        folder.mkdir(parents=True)
    (shared / "abcd").write_bytes(safetensors(GOOD, bytes(8)))
    (blobs / "123").symlink_to("../../blobs/ab/abcd")
    (snapshot / "model.safetensors").symlink_to("../../blobs/123")
    assert list(open_checkpoint(snapshot)) == ["a"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.gguf")
    with pytest.raises(CheckpointError, match="regular file"):
        open_checkpoint(tmp_path / "x.gguf")
