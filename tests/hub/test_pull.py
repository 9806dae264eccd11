"""Pulling from a hub that redirects, breaks off, lies and is slow: the right bytes arrive, or a sentence does."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from localq.errors import CheckpointError, DoesNotFitError, LocalqError, NotFoundError
from localq.hub.failures import MissingRepoError, UnreachableError
from localq.hub.pull import Plan, plan_pull, pull
from localq.hub.refs import parse, resolve
from localq.hub.selection import Wish
from tests.hub.server import Hub, Repo, Trouble


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


SMALL = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}", "README.md": b"# Words"}
BIG = "model.safetensors"


def plan(ref: str, wish: Wish | None = None, **more: Any) -> Plan:
    return plan_pull(parse(ref), wish or Wish(), **more)


def get(ref: str, **more: Any) -> Path:
    return Path(pull(plan(ref), **more))


def paths(ref: str, **wish: Any) -> list[str]:
    return sorted(f.path for f in plan(ref, Wish(**wish)).files)


@pytest.fixture
def tiny(hub: Hub) -> Repo:
    return hub.add("acme/Tiny", {**SMALL, BIG: noise(300_000)})


def test_a_pull_is_what_huggingface_hub_would_have_made(hub: Hub, tiny: Repo, tmp_path: Path) -> None:
    """Oracle: huggingface_hub finds and accepts every file in the cache we wrote."""
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    where = get("acme/Tiny")
    for name in ("config.json", "tokenizer.json", BIG):
        assert (where / name).read_bytes() == tiny.files[name]
        found = try_to_load_from_cache("acme/Tiny", name, cache_dir=tmp_path / "hf" / "hub")
        assert found == str(where / name)
    assert not (where / "README.md").exists()
    info = scan_cache_dir(tmp_path / "hf" / "hub")
    assert not info.warnings
    (repo,) = info.repos
    assert repo.refs["main"].commit_hash == tiny.commit
    assert repo.size_on_disk == sum(len(tiny.files[n]) for n in ("config.json", "tokenizer.json", BIG))
    blob = os.readlink(where / BIG)
    assert not os.path.isabs(blob) and blob.endswith(hashlib.sha256(tiny.files[BIG]).hexdigest())
    assert resolve("acme/Tiny") == str(where)


def test_huggingface_hub_makes_the_same_cache_from_this_server(hub: Hub, tiny: Repo, tmp_path: Path) -> None:
    """Oracle, in a process of its own: its client accepts the server, and writes the same names, links and bytes."""
    code = (
        "from huggingface_hub import snapshot_download as s, HfApi\n"
        f"s('acme/Tiny', cache_dir={str(tmp_path / 'theirs')!r}, allow_patterns=['*.json', '*.safetensors'])\n"
        "print([m.id for m in HfApi().list_models(search='tiny', sort='downloads')])"
    )
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "['acme/Tiny']", done.stderr
    get("acme/Tiny")
    ours, theirs = (_tree(tmp_path / where / "models--acme--Tiny") for where in ("hf/hub", "theirs"))
    assert ours == {path: what for path, what in theirs.items() if path.split("/")[0] in ("blobs", "snapshots", "refs")}


def _tree(folder: Path) -> dict[str, bytes | str]:
    """Every name below a folder with its bytes, or where its link leads."""
    return {
        str(p.relative_to(folder)): os.readlink(p) if p.is_symlink() else p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_symlink() or p.is_file()
    }


def test_a_second_pull_fetches_nothing(hub: Hub, tiny: Repo) -> None:
    get("acme/Tiny")
    before = len(hub.log)
    get("acme/Tiny")
    assert len(hub.log) == before


def test_a_new_commit_fetches_only_what_changed(hub: Hub, tiny: Repo) -> None:
    get("acme/Tiny")
    newer = hub.add("acme/Tiny", {**tiny.files, "config.json": b'{"model_type": "qwen3"}'})
    before = len(hub.log)
    where = get("acme/Tiny")
    assert where.name == newer.commit and [path for path, *_ in hub.log[before:]] == ["config.json"]


def test_the_token_stays_with_the_hub(hub: Hub, tiny: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    tiny.private = True
    get("acme/Tiny")
    assert not hub.leaked


def test_cut_connections_are_continued(hub: Hub, tiny: Repo) -> None:
    hub.trouble[BIG] = Trouble(cut_after=100_000, times=2)
    where = get("acme/Tiny")
    assert (where / BIG).read_bytes() == tiny.files[BIG]
    starts = [start for path, start, _ in hub.log if path == BIG]
    assert len(starts) == 3 and starts[0] == 0 and all(0 < s <= 200_000 for s in starts[1:])


def test_wrong_bytes_are_found_and_fetched_again(hub: Hub, tiny: Repo) -> None:
    hub.trouble[BIG] = Trouble(wrong_byte=123_456, times=1)
    said: list[str] = []
    where = get("acme/Tiny", events=_events(said))
    assert (where / BIG).read_bytes() == tiny.files[BIG]
    assert any("wrong bytes" in s for s in said)


@pytest.mark.parametrize("name", [BIG, "config.json"])
def test_bytes_that_stay_wrong_are_refused(hub: Hub, tiny: Repo, name: str, tmp_path: Path) -> None:
    hub.trouble[name] = Trouble(wrong_byte=7)
    with pytest.raises(CheckpointError, match=f"'{name}' of acme/Tiny came 3 times with another hash"):
        get("acme/Tiny")
    assert not list(tmp_path.glob("hf/hub/models--*/snapshots/**/*"))
    assert not (tmp_path / "hf/hub/models--acme--Tiny/blobs" / tiny.etag(name)).exists()


def test_a_damaged_part_is_not_trusted(hub: Hub, tiny: Repo, tmp_path: Path) -> None:
    blobs = tmp_path / "hf/hub/models--acme--Tiny/blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{tiny.etag(BIG)}.incomplete").write_bytes(b"x" + tiny.files[BIG][1:200_000])
    said: list[str] = []
    where = get("acme/Tiny", events=_events(said))
    assert (where / BIG).read_bytes() == tiny.files[BIG]
    assert any("in what was resumed" in s for s in said)


def test_a_good_part_is_continued(hub: Hub, tiny: Repo, tmp_path: Path) -> None:
    blobs = tmp_path / "hf/hub/models--acme--Tiny/blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{tiny.etag(BIG)}.incomplete").write_bytes(tiny.files[BIG][:200_000])
    where = get("acme/Tiny")
    assert (where / BIG).read_bytes() == tiny.files[BIG]
    assert [(start, sent) for path, start, sent in hub.log if path == BIG] == [(200_000, 100_000)]


@pytest.mark.parametrize("part", [b"", b"y" * 300_000, b"z" * 400_000])
def test_odd_parts(hub: Hub, tiny: Repo, tmp_path: Path, part: bytes) -> None:
    blobs = tmp_path / "hf/hub/models--acme--Tiny/blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{tiny.etag(BIG)}.incomplete").write_bytes(part)
    assert (get("acme/Tiny") / BIG).read_bytes() == tiny.files[BIG]


def test_a_byte_that_rotted_in_the_cache_is_found(hub: Hub, tiny: Repo) -> None:
    where = get("acme/Tiny")
    with open(where / BIG, "r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2")
    said: list[str] = []
    where = get("acme/Tiny", events=_events(said))
    assert (where / BIG).read_bytes() == tiny.files[BIG]
    assert any("damaged" in s for s in said)


def test_a_server_without_ranges_starts_over(hub: Hub, tiny: Repo) -> None:
    hub.trouble[BIG] = Trouble(cut_after=100_000, no_range=True, times=1)
    hub.trouble["*"] = Trouble(no_range=True)
    assert (get("acme/Tiny") / BIG).read_bytes() == tiny.files[BIG]


def test_bytes_beyond_the_end_are_ignored(hub: Hub, tiny: Repo) -> None:
    hub.trouble[BIG] = Trouble(extra=b"more" * 100)
    assert (get("acme/Tiny") / BIG).read_bytes() == tiny.files[BIG]


def test_long_files_are_asked_for_in_pieces(hub: Hub, tiny: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localq.hub.transfer.SPAN", 100_000)
    assert (get("acme/Tiny") / BIG).read_bytes() == tiny.files[BIG]
    assert [(start, sent) for path, start, sent in hub.log if path == BIG] == [(n * 100_000, 100_000) for n in range(3)]


def test_slow_bytes_and_a_busy_server(hub: Hub, tiny: Repo) -> None:
    hub.trouble["api"] = Trouble(status=503, times=2)
    hub.trouble["config.json"] = Trouble(status=500, times=2)
    hub.trouble[BIG] = Trouble(delay=0.02, piece=50_000)
    assert (get("acme/Tiny") / BIG).read_bytes() == tiny.files[BIG]


def test_two_pulls_at_once(hub: Hub, tiny: Repo) -> None:
    """Both get the model; the bytes come once."""
    hub.trouble["*"] = Trouble(delay=0.01, piece=20_000)
    results: list[Path] = []
    threads = [threading.Thread(target=lambda: results.append(get("acme/Tiny"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and (results[0] / BIG).read_bytes() == tiny.files[BIG]
    assert hub.sent(BIG) == 300_000


def test_a_full_disk_is_seen_before(hub: Hub, tiny: Repo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import shutil

    get("acme/Tiny")
    hub.add("acme/Huge", {**SMALL, BIG: noise(400_000, 1)})
    full = shutil.disk_usage(tmp_path)._replace(free=200_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    with pytest.raises(DoesNotFitError, match="400.02 KB are to be fetched, and the disk of .* has 200.00 KB free"):
        get("acme/Huge")
    assert not [entry for entry in hub.log if entry[2] == 400_000]
    get("acme/Tiny")  # nothing to fetch: no room needed


def test_a_disk_that_fills_up_keeps_what_is_there(
    hub: Hub, tiny: Repo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The operating system's own refusal: no file may grow beyond 200 KB."""
    import resource
    import signal

    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(DoesNotFitError, match="is full"):
            get("acme/Tiny", workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, old)
    blobs = tmp_path / "hf/hub/models--acme--Tiny/blobs"
    assert (blobs / tiny.etag("config.json")).read_bytes() == tiny.files["config.json"]
    assert 0 < (blobs / f"{tiny.etag(BIG)}.incomplete").stat().st_size <= 200_000
    assert (get("acme/Tiny") / BIG).read_bytes() == tiny.files[BIG]
    assert hub.sent("config.json") == len(tiny.files["config.json"])


def test_local_dir(hub: Hub, tiny: Repo, tmp_path: Path) -> None:
    from localq.hub.store import read_folders

    target = tmp_path / "models" / "tiny"
    (target).mkdir(parents=True)
    (target / "config.json").write_text("mine, older")
    assert pull(plan("acme/Tiny", folder=str(target))) == str(target)
    assert (target / BIG).read_bytes() == tiny.files[BIG]
    assert (target / "config.json").read_bytes() == tiny.files["config.json"]
    assert read_folders()[str(target)]["repo"] == "acme/Tiny"
    before = len(hub.log)
    pull(plan("acme/Tiny", folder=str(target)))
    assert len(hub.log) == before and not (tmp_path / "hf" / "hub" / "models--acme--Tiny").exists()


def test_a_disk_without_links(hub: Hub, tiny: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """exFAT, for one: the snapshot holds the files themselves, as huggingface_hub does there."""

    def refuse(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("localq.hub.store.os.symlink", refuse)
    where = get("acme/Tiny")
    assert (where / BIG).read_bytes() == tiny.files[BIG] and not (where / BIG).is_symlink()
    before = len(hub.log)
    assert get("acme/Tiny") == where and len(hub.log) == before
    hub.add("acme/Same", {"config.json": b"{}", "tokenizer.json": b"{}", BIG: noise(5000)})
    where = get("acme/Same")
    assert (where / "config.json").read_bytes() == (where / "tokenizer.json").read_bytes() == b"{}"


def test_equal_files_are_fetched_once(hub: Hub) -> None:
    repo = hub.add("acme/Same", {"config.json": b"{}", "tokenizer.json": b"{}", BIG: noise(5000)})
    where = get("acme/Same")
    assert (where / "config.json").read_bytes() == (where / "tokenizer.json").read_bytes() == b"{}"
    assert len(hub.log) == 2 and repo.etag("config.json") == repo.etag("tokenizer.json")


REFUSALS = {
    "missing": (MissingRepoError, 3, "no public repository 'acme/None'.*if it is private, log in"),
    "gated": (LocalqError, 1, "'acme/Tiny' is gated: its licence must be accepted first, at https.*hf auth login"),
    "private": (MissingRepoError, 3, "no public repository 'acme/Tiny'"),
    "bad token": (LocalqError, 1, "does not accept the token in use"),
    "revision": (NotFoundError, 3, "has no revision 'v9'"),
    "rate": (LocalqError, 1, "asked too often, and to come back in 900 seconds.*it continues"),
    "rate, no time": (LocalqError, 1, "asked too often"),
    "server": (UnreachableError, 1, "in trouble .it answered 502."),
    "offline": (UnreachableError, 1, "Offline mode is on.*Unset HF_HUB_OFFLINE"),
    "dead": (UnreachableError, 1, "cannot be reached.*Check the network"),
    "tls": (UnreachableError, 1, "TLS"),
    "not a hub": (LocalqError, 1, "does not answer like the hub"),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_refusals(hub: Hub, tiny: Repo, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, code, words = REFUSALS[what]
    ref = {"missing": "acme/None", "revision": "acme/Tiny"}.get(what, "acme/Tiny")
    if what == "gated":
        tiny.gated = True
    elif what == "private":
        tiny.private = True
    elif what == "bad token":
        monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    elif what.startswith("rate"):
        headers = {"Retry_After": "900"} if what == "rate" else {}
        hub.trouble["api"] = Trouble(status=429, headers=headers)
    elif what == "server":
        hub.trouble["api"] = Trouble(status=502)
    elif what == "offline":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    elif what == "dead":
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    elif what == "tls":
        monkeypatch.setenv("HF_ENDPOINT", hub.url.replace("http:", "https:"))
    elif what == "not a hub":
        hub.wrap = lambda answer: "<html>"
        words = "has no id|does not answer like the hub"
    with pytest.raises(kind, match=words) as caught:
        pull(plan_pull(parse(ref)._replace(revision="v9" if what == "revision" else ""), Wish()))
    assert caught.value.exit_code == code


def test_gated_with_a_token_says_who_has_no_access(hub: Hub, tiny: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    tiny.gated = True
    with pytest.raises(LocalqError, match="the account of the token in use has no access"):
        get("acme/Tiny")


def test_a_listing_cut_in_the_middle_is_asked_for_again(hub: Hub, tiny: Repo) -> None:
    hub.trouble["json"] = Trouble(times=3)
    assert get("acme/Tiny").is_dir()
    hub.trouble["json"] = Trouble()
    with pytest.raises(UnreachableError, match="cannot be reached"):
        plan("acme/Tiny")


def test_an_address_that_is_none(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://[nonsense")
    with pytest.raises(LocalqError, match="HF_ENDPOINT is 'http://.nonsense', which is no address"):
        plan("acme/Tiny")


def test_a_short_rate_limit_is_waited_for(hub: Hub, tiny: Repo) -> None:
    hub.trouble["api"] = Trouble(status=429, headers={"Retry_After": "0.1"}, times=2)
    assert get("acme/Tiny").is_dir()


def test_a_renamed_repository(hub: Hub, tiny: Repo) -> None:
    hub.moved["old/Tiny"] = "acme/Tiny"
    found = plan("old/Tiny")
    assert found.listing.moved and found.listing.repo == "acme/Tiny"
    assert "models--acme--Tiny" in pull(found)


@pytest.mark.parametrize(
    "path", ["../evil.gguf", "/etc/x.gguf", "a/../../x.gguf", "a\\b.gguf", "a\x1b[2J.gguf", "a//b.gguf"]
)
def test_paths_that_leave_the_folder_are_refused(hub: Hub, path: str) -> None:
    hub.add("acme/Evil", {path: b"GGUF"})
    with pytest.raises(CheckpointError, match="would land outside its folder"):
        plan("acme/Evil")


def test_a_listing_that_leads_elsewhere_is_refused(hub: Hub, tiny: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    from localq.hub import client

    monkeypatch.setattr(client, "_origin", lambda url: url if "cursor" in url else "here")
    with pytest.raises(LocalqError, match="leads to"):
        plan("acme/Tiny")


def _events(said: list[str]) -> Any:
    from localq.hub.pull import Events

    return Events(said=said.append)
