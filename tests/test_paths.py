"""Folders move with LOCALQ_HOME, the XDG variables and the platform, in that order."""

from __future__ import annotations

import os

import pytest

from localq import paths


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for (
        name
    ) in "LOCALQ_HOME XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME HF_HOME HF_HUB_CACHE HUGGINGFACE_HUB_CACHE".split():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr("sys.platform", "linux")


def test_linux() -> None:
    assert paths.cache_dir() == "/home/me/.cache/localq"
    assert paths.config_file() == "/home/me/.config/localq/config.toml"
    assert paths.data_dir() == "/home/me/.local/share/localq"


def test_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert paths.cache_dir() == "/home/me/Library/Caches/localq"
    assert paths.config_dir() == "/home/me/Library/Application Support/localq"


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_xdg_wins_over_the_platform(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x")
    assert paths.config_dir() == "/x/localq"


def test_localq_home_wins_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.setenv("LOCALQ_HOME", "~/lq")
    assert paths.cache_dir() == "/home/me/lq/cache"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HF_HOME": "/h"},
        {"HF_HUB_CACHE": "/c"},
        {"HUGGINGFACE_HUB_CACHE": "~/old"},
        {"HF_HOME": "$HOME/h"},
        {"XDG_CACHE_HOME": "/x"},
        {"HF_HOME": "/h", "HF_HUB_CACHE": "/c"},
    ],
)
def test_hf_cache_is_where_huggingface_hub_looks(environment: dict[str, str]) -> None:
    """Oracle: huggingface_hub itself, in a process of its own because it reads the environment at import."""
    import subprocess
    import sys

    code = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    ours = "from localq.paths import hf_cache_dir; print(hf_cache_dir())"
    env = {"HOME": "/home/me", "PATH": os.environ["PATH"], **environment}
    answers = [
        subprocess.run([sys.executable, "-c", c], env=env, capture_output=True, text=True, check=True).stdout
        for c in (code, ours)
    ]
    assert answers[0] == answers[1]
