"""README, AGENTS and CONTRIBUTING say what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from localq.cli.main import VERBS
from tools.readme_table import START, with_table

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_formats_is_the_registry() -> None:
    assert START in README
    assert with_table(README) == README, "run: make fix"


def test_every_verb_the_readme_types_exists() -> None:
    typed = set(re.findall(r"^\.venv/bin/localq (\w+)", README, re.M))
    assert typed and typed <= set(VERBS)
    assert all(f"`{verb}`" in README or verb in typed for verb in VERBS)


def test_the_readme_s_commands_are_make_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), target


@pytest.mark.parametrize("path", sorted(set(re.findall(r"^(localq/\w+(?:\.py|/))", README, re.M))))
def test_every_place_of_the_tree_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_lengths() -> None:
    agents = (ROOT / "AGENTS.md").read_text(encoding="utf-8").splitlines()
    assert len(agents) < 200
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for thing in ("format", "kernel", "architecture", "screen"):
        section = contributing.partition(f"## Add a{'n' if thing[0] == 'a' else ''} {thing}\n")[2].partition("\n## ")[0]
        assert len(re.findall(r"^\d+\. ", section, re.M)) == 10, thing


def test_ci_runs_what_the_readme_says() -> None:
    assert re.search(r"^make test\b", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.M)
