"""Where localq keeps its own files: one function per folder, asked at call time so that tests can move them.

`LOCALQ_HOME` puts everything under one folder; else the XDG variables where set (on any platform), else the
platform's habit. Weights are not ours: they stay in the Hugging Face cache (`hf_cache_dir`).
"""

import os
import sys


def _folder(kind: str, xdg: str, unix: str, mac: str) -> str:
    home = os.environ.get("LOCALQ_HOME")
    if home:
        return os.path.join(os.path.expanduser(home), kind)
    if os.environ.get(xdg):
        return os.path.join(os.environ[xdg], "localq")
    return os.path.join(os.path.expanduser(mac if sys.platform == "darwin" else unix), "localq")


def cache_dir() -> str:
    """What can be made again: kernel checks, measured bandwidth."""
    return _folder("cache", "XDG_CACHE_HOME", "~/.cache", "~/Library/Caches")


def config_dir() -> str:
    """`config.toml`."""
    return _folder("config", "XDG_CONFIG_HOME", "~/.config", "~/Library/Application Support")


def data_dir() -> str:
    """What the user made: chat history."""
    return _folder("data", "XDG_DATA_HOME", "~/.local/share", "~/Library/Application Support")


def config_file() -> str:
    """The settings file; it need not exist."""
    return os.path.join(config_dir(), "config.toml")


def demo_dir() -> str:
    """The bundled model."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "demo")


def hf_cache_dir() -> str:
    """The Hugging Face hub cache, found as `huggingface_hub` finds it: HF_HUB_CACHE, the older HUGGINGFACE_HUB_CACHE,
    HF_HOME, XDG_CACHE_HOME."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return os.path.expandvars(os.path.expanduser(named or os.path.join(home, "hub")))
