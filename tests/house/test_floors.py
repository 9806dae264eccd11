"""The house rules a machine can check: floors, sizes, names, versions."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tools.size import LIMIT, lines, python_files

ROOT = Path(__file__).resolve().parents[2]


def test_floors_hold() -> None:
    """import-linter's contracts in pyproject.toml, each with its reason beside it."""
    linter = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("import-linter is not installed")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_no_file_is_too_long() -> None:
    over = {str(path.relative_to(ROOT)): lines(path) for path in python_files() if lines(path) > LIMIT}
    assert not over


def test_no_file_is_named_after_nothing() -> None:
    """A file named utils, helpers or manager says nothing about what is in it, and grows."""
    bad = {"utils.py", "util.py", "helpers.py", "helper.py", "manager.py", "common.py", "misc.py"}
    assert not [str(p) for p in python_files() if p.name in bad]


@pytest.mark.parametrize("folder", ["tui", "converters", "kernels_metal"])
def test_source_roots_are_no_packages(folder: str) -> None:
    """An `__init__.py` there would make the folder importable from a checkout only, and collide with PyPI's names."""
    spec = importlib.util.find_spec(folder)
    assert spec is None or spec.origin is None


def test_changelog_has_this_version_first() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None and newest[1] == version


def test_every_package_says_it_is_typed() -> None:
    for package in ("localq", "tui/localq_tui", "converters/localq_converters", "kernels_metal/localq_metal"):
        assert (ROOT / package / "py.typed").is_file()


# Words the glossary replaces or that promise what code cannot keep, and where they may stand all the same.
BANNED = {
    r"\bTODO\b|\bFIXME\b|\bXXX\b": "finish it or refuse it",
    r"\bNotImplementedError\b": "raise a LocalqError that says what to do",
    r"\bblazing\b|\bseamless(ly)?\b|\bcutting-edge\b": "say what it does",
    r"\bexcept:\s*$": "name the error",
}


@pytest.mark.parametrize("pattern", BANNED)
def test_no_banned_words(pattern: str) -> None:
    here = Path(__file__).resolve()
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in python_files()
        if path != here
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not found, BANNED[pattern]


def test_nothing_names_one_machine() -> None:
    """No path of the machine this was written on."""
    pattern = re.compile(r"/work/|/root/|/home/(?!me\b)\w+/")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in [*python_files(), *ROOT.glob("*.md"), ROOT / "Makefile", ROOT / ".ci" / "run"]
        if path != Path(__file__).resolve() and (match := pattern.search(path.read_text(encoding="utf-8")))
    ]
    assert not found
