"""What is on this machine, and removing it: caches made by others and by us, counted by a second source."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from localq.errors import NotFoundError, UsageError
from localq.hub.catalog import Entry, installed, total_size
from localq.hub.pull import plan_pull, pull
from localq.hub.refs import is_local, parse, resolve
from localq.hub.removal import plan_removal, remove
from localq.hub.selection import Wish
from tests.hub.server import Hub
from tests.hub.test_pull import SMALL, noise
from tests.hub.test_selection import GGUFS

BIG = "model.safetensors"


def get(ref: str, folder: str = "") -> Path:
    return Path(pull(plan_pull(parse(ref), Wish(), folder)))


def here() -> dict[str, Entry]:
    return {e.ref: e for e in installed()}


@pytest.fixture
def filled(hub: Hub) -> Hub:
    hub.add("acme/Tiny-AWQ", {**SMALL, BIG: noise(30_000, 1)})
    hub.add("acme/Tiny-GGUF", GGUFS)
    get("acme/Tiny-AWQ")
    get("acme/Tiny-GGUF:Q4_K_M")
    get("acme/Tiny-GGUF:Q8_0")
    return hub


def test_the_cache_is_listed_as_huggingface_hub_counts_it(filled: Hub, tmp_path: Path) -> None:
    from huggingface_hub import scan_cache_dir

    found = here()
    assert set(found) == {"acme/Tiny-AWQ", "acme/Tiny-GGUF:Q4_K_M", "acme/Tiny-GGUF:Q8_0"}
    assert {r: (e.container, e.label) for r, e in found.items()} == {
        "acme/Tiny-AWQ": ("safetensors", "awq"),
        "acme/Tiny-GGUF:Q4_K_M": ("gguf", "Q4_K_M"),
        "acme/Tiny-GGUF:Q8_0": ("gguf", "Q8_0"),
    }
    assert found["acme/Tiny-GGUF:Q8_0"].size == 121
    assert total_size(installed()) == scan_cache_dir(tmp_path / "hf/hub").size_on_disk
    for ref, entry in found.items():
        assert resolve(ref) == entry.path


def test_files_shared_by_two_commits_count_once_and_stay(filled: Hub, tmp_path: Path) -> None:
    from huggingface_hub import scan_cache_dir

    old = filled.repos["acme/Tiny-AWQ"]
    new = filled.add("acme/Tiny-AWQ", {**old.files, "config.json": b'{"model_type": "other"}'})
    where = get("acme/Tiny-AWQ")
    assert set(here()) >= {"acme/Tiny-AWQ", f"acme/Tiny-AWQ@{old.commit[:12]}"}
    assert total_size(installed()) == scan_cache_dir(tmp_path / "hf/hub").size_on_disk
    removal = plan_removal("acme/Tiny-AWQ", old.commit[:10])
    expected = scan_cache_dir(tmp_path / "hf/hub").delete_revisions(old.commit).expected_freed_size
    assert removal.freed == expected == len(old.files["config.json"]) and removal.kept == 30_002
    remove(removal)
    assert (where / BIG).read_bytes() == old.files[BIG] and where.name == new.commit
    assert not (where.parent / old.commit).exists()


def test_removing_a_build_leaves_the_others(filled: Hub, tmp_path: Path) -> None:
    removal = plan_removal("acme/Tiny-GGUF:Q8_0")
    assert len(removal.names) == len(removal.blobs) == 2 and removal.freed == 121
    remove(removal)
    assert set(here()) == {"acme/Tiny-AWQ", "acme/Tiny-GGUF:Q4_K_M"}
    assert not list(tmp_path.glob("hf/hub/models--acme--Tiny-GGUF/snapshots/*/Q8_0"))
    assert resolve("acme/Tiny-GGUF:Q4_K_M").endswith("m-Q4_K_M.gguf")
    get("acme/Tiny-GGUF:Q8_0")
    assert len(here()) == 3


def test_removing_a_repository_leaves_nothing_of_it(filled: Hub, tmp_path: Path) -> None:
    remove(plan_removal("tiny-awq"))
    assert not (tmp_path / "hf/hub/models--acme--Tiny-AWQ").exists()
    assert set(here()) == {"acme/Tiny-GGUF:Q4_K_M", "acme/Tiny-GGUF:Q8_0"}


def test_shared_blobs_stay_as_long_as_one_repository_uses_them(hub: Hub, tmp_path: Path) -> None:
    """The layout is made and judged by huggingface_hub's own shared store."""
    from huggingface_hub.utils import _shared_blobs as theirs

    cache = tmp_path / "hf" / "hub"
    for name in ("acme/One", "acme/Two"):
        hub.add(name, {**SMALL, BIG: noise(5000)})
        where = get(name)
        blob = where / os.readlink(where / BIG)
        facts = {"blob_path": os.path.normpath(blob), "xet_hash": "ab" * 32, "cache_dir": str(cache)}
        if name == "acme/One":
            theirs.publish_blob_to_shared_store(**facts, expected_size=5000, replace_existing=False)
        else:
            os.unlink(blob)
            assert theirs.try_link_from_shared_store(**facts, expected_size=5000)
    store = theirs.shared_blob_path(cache, "ab" * 32)
    assert store.is_file() and (where / BIG).read_bytes() == noise(5000)
    before = len(hub.log)
    get("acme/Two")
    assert len(hub.log) == before and os.readlink(where / BIG).startswith("../../blobs/")
    assert total_size(installed()) == 5000 + 2 * sum(len(SMALL[n]) for n in ("config.json", "tokenizer.json"))
    remove(plan_removal("acme/One"))
    assert (where / BIG).read_bytes() == noise(5000)
    remove(plan_removal("acme/Two"))
    assert not store.exists()


def test_an_unfinished_download_is_shown(hub: Hub, tmp_path: Path) -> None:
    blobs = tmp_path / "hf/hub/models--acme--Half/blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc.incomplete").write_bytes(bytes(500))
    (entry,) = installed()
    assert (entry.ref, entry.container, entry.size) == ("acme/Half", "unfinished", 500)
    remove(plan_removal("acme/Half"))
    assert not installed()


def test_local_dirs(filled: Hub, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    get("acme/Tiny-AWQ", str(target))
    assert here()[str(target)].source == "folder"
    remove(plan_removal(str(target)))
    assert os.listdir(target) == ["notes.txt"] and str(target) not in here()


@pytest.fixture
def others(hub: Hub, tmp_path: Path) -> Path:
    """LM Studio's folder and Ollama's store, as those programs lay them out."""
    studio = tmp_path / "home/.lmstudio/models/lmstudio-community/Tiny-GGUF"
    studio.mkdir(parents=True)
    (studio / "Tiny-Q4_K_M.gguf").write_bytes(b"GGUF" + bytes(96))
    store = tmp_path / "home/.ollama/models"
    weights, template = b"GGUF" + bytes(200), b"{{ .Prompt }}"
    (store / "blobs").mkdir(parents=True)
    layers = []
    for kind, data in (("model", weights), ("template", template)):
        digest = hashlib.sha256(data).hexdigest()
        (store / "blobs" / f"sha256-{digest}").write_bytes(data)
        layers.append(
            {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}
        )
    for name in (
        "registry.ollama.ai/library/tiny/1b-q4_K_M",
        "hf.co/acme/Tiny-GGUF/Q8_0",
        "registry.ollama.ai/me/x/latest",
    ):
        path = store / "manifests" / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    (store / "manifests/registry.ollama.ai/library/tiny/broken").write_text("{")
    (store / "manifests/registry.ollama.ai/library/tiny/evil").write_text(
        json.dumps({"layers": [{**layers[0], "digest": "sha256:../../../../etc/passwd"}]})
    )
    return store


def test_other_programs_models_are_read_in_place(others: Path, tmp_path: Path) -> None:
    found = here()
    studio = str(tmp_path / "home/.lmstudio/models/lmstudio-community/Tiny-GGUF/Tiny-Q4_K_M.gguf")
    assert set(found) == {"ollama:tiny:1b-q4_K_M", "ollama:hf.co/acme/Tiny-GGUF:Q8_0", "ollama:me/x:latest", studio}
    assert found["ollama:tiny:1b-q4_K_M"].label == "Q4_K_M" and found["ollama:tiny:1b-q4_K_M"].size == 217
    assert total_size(installed()) == 217 + 100
    assert Path(resolve("ollama:tiny:1b-q4_K_M")).read_bytes()[:4] == b"GGUF"
    assert resolve("ollama:me/x") == resolve("ollama:hf.co/acme/Tiny-GGUF:Q8_0")
    assert is_local("ollama:tiny:8b")
    with pytest.raises(NotFoundError, match="Ollama has no model 'tiny:8b'.*ollama:tiny:1b-q4_K_M"):
        resolve("ollama:tiny:8b")


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("demo", "part of localq"),
        ("ollama:tiny:1b-q4_K_M", "ollama rm tiny:1b"),
        ("{studio}", "LM Studio"),
        ("{tmp}", "did not put"),
    ],
)
def test_what_is_not_ours_is_not_removed(others: Path, tmp_path: Path, ref: str, words: str) -> None:
    studio = tmp_path / "home/.lmstudio/models/lmstudio-community/Tiny-GGUF/Tiny-Q4_K_M.gguf"
    with pytest.raises(UsageError, match=words):
        plan_removal(ref.format(studio=studio, tmp=tmp_path))


def test_nothing_to_remove(filled: Hub) -> None:
    for ref in ("acme/None", "acme/Tiny-GGUF:Q2_K", "/no/such"):
        with pytest.raises(NotFoundError):
            plan_removal(ref)
