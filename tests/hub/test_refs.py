"""Model references, against a small Hugging Face cache made here (its layout checked with huggingface_hub)."""

from __future__ import annotations

from pathlib import Path

import pytest

from localq.errors import NotFoundError, UsageError
from localq.hub.refs import HubRef, parse, resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GGUFS = (
    "m-Q4_K_M.gguf",
    "m-UD-Q4_K_M.gguf",
    "m-Q4_K_S.gguf",
    "mmproj-F16.gguf",
    "BF16/m-BF16-00001-of-00002.gguf",
    "BF16/m-BF16-00002-of-00002.gguf",
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    add(tmp_path / "hub", "acme/Tiny-GGUF", GGUFS)
    add(tmp_path / "hub", "acme/Tiny", ("config.json", "model.safetensors"))
    add(tmp_path / "hub", "acme/One-GGUF", ("only-Q8_0.gguf",))
    add(tmp_path / "hub", "acme/Twin", ("config.json",))
    add(tmp_path / "hub", "other/Twin", ("config.json",))
    return tmp_path / "hub"


def add(hub: Path, repo: str, files: tuple[str, ...]) -> None:
    where = hub / ("models--" + repo.replace("/", "--"))
    (where / "refs").mkdir(parents=True)
    (where / "refs" / "main").write_text(COMMIT)
    for name in files:
        file = where / "snapshots" / COMMIT / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


@pytest.mark.parametrize(
    ("ref", "ending"),
    [
        ("acme/Tiny", COMMIT),
        ("ACME/tiny", COMMIT),
        ("Tiny", COMMIT),
        ("acme/Tiny-GGUF:Q4_K_M", "m-Q4_K_M.gguf"),
        ("acme/Tiny-GGUF:q4_k_s", "m-Q4_K_S.gguf"),
        ("acme/Tiny-GGUF:UD-Q4_K_M", "m-UD-Q4_K_M.gguf"),
        ("acme/Tiny-GGUF:BF16", "m-BF16-00001-of-00002.gguf"),
        ("Tiny-GGUF@Q4_K_M", "m-Q4_K_M.gguf"),
        ("acme/One-GGUF", "only-Q8_0.gguf"),
        ("hf://acme/One-GGUF", "only-Q8_0.gguf"),
        ("https://huggingface.co/acme/Tiny", COMMIT),
        ("https://huggingface.co/acme/Tiny-GGUF/blob/main/m-Q4_K_S.gguf", "m-Q4_K_S.gguf"),
        ("https://huggingface.co/acme/Tiny/tree/main", COMMIT),
        ("hf.co/acme/Tiny-GGUF:Q4_K_M", "m-Q4_K_M.gguf"),
    ],
)
def test_found_in_the_cache(cache: Path, ref: str, ending: str) -> None:
    assert resolve(ref).endswith(ending)


def test_the_cache_here_is_laid_out_as_huggingface_hub_lays_it(cache: Path) -> None:
    from huggingface_hub import scan_cache_dir

    assert {r.repo_id for r in scan_cache_dir(cache).repos} >= {"acme/Tiny-GGUF", "acme/Tiny", "other/Twin"}


@pytest.mark.parametrize(
    ("ref", "error", "words"),
    [
        ("acme/Tiny-GGUF", UsageError, "fits 4 files.*:Q4_K_M"),
        ("acme/Tiny-GGUF:Q3_K_M", NotFoundError, "labelled 'Q3_K_M'; it has .*m-Q4_K_M.gguf"),
        ("acme/Tini", NotFoundError, "Did you mean .*acme/Tiny.*localq pull acme/Tini"),
        ("Twin", UsageError, "acme/Twin, other/Twin"),
        ("nobody/Nothing-9B", NotFoundError, "localq pull nobody/Nothing-9B"),
        ("nobody/Nothing-GGUF:Q4_K_M", NotFoundError, "localq pull nobody/Nothing-GGUF:Q4_K_M"),
        ("Nothing-9B-AWQ", NotFoundError, "Search the hub for it and fetch it with: localq pull Nothing-9B-AWQ"),
        ("hf://acme", NotFoundError, "names no repository"),
        ("https://huggingface.co/acme/Tiny/resolve/main/no.gguf", NotFoundError, "'no.gguf' is not in the cached"),
        ("https://huggingface.co/acme/Tiny/resolve/main/../../../../x", NotFoundError, "not in the cached"),
        ("", UsageError, "empty"),
    ],
)
def test_refused_with_what_to_do(cache: Path, ref: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        resolve(ref)


def test_revision(cache: Path) -> None:
    assert resolve("acme/Tiny", COMMIT[:10]).endswith(COMMIT)
    with pytest.raises(NotFoundError, match="no cached revision 'v2'; cached: main, 0123456789ab"):
        resolve("acme/Tiny", "v2")


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model-q4.gguf").write_bytes(b"")
    assert resolve("model-q4.gguf") == "model-q4.gguf"
    assert resolve(str(tmp_path)) == str(tmp_path)
    with pytest.raises(NotFoundError, match="There is no 'model-q5.gguf'. That folder has: model-q4.gguf"):
        resolve("model-q5.gguf")
    with pytest.raises(NotFoundError, match="There is no folder '/no/such'"):
        resolve("/no/such/model.gguf")


def test_demo_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = tmp_path / "bundled"
    bundled.mkdir()
    (bundled / "config.json").write_text("{}")
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("localq.hub.refs.demo_dir", lambda: str(bundled))
    assert resolve("demo") == str(bundled)
    assert resolve("./demo") == "./demo"


def test_parse() -> None:
    assert parse("a/b:Q4_0") == HubRef("a", "b", "Q4_0")
    assert parse("b@4bit") == HubRef("", "b", "4bit")
    assert parse("hf://a/b/f.gguf") == HubRef("a", "b", file="f.gguf")
