"""Settings: file, then environment; unknown keys and wrong values are refused where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from localq.errors import UsageError
from localq.settings import SCHEMA, load_settings, unknown_variables


def load(tmp_path: Path, toml: str, **environment: str) -> dict[str, object]:
    file = tmp_path / "config.toml"
    file.write_text(toml)
    return load_settings(environment, str(file))


def test_defaults_without_a_file(tmp_path: Path) -> None:
    found = load_settings({}, str(tmp_path / "none.toml"))
    assert found == {s.name: s.default for s in SCHEMA}


def test_environment_wins_over_file(tmp_path: Path) -> None:
    toml = 'temperature = 0\nengine = "llama"'
    found = load(tmp_path, toml, LOCALQ_TEMPERATURE="0.5", LOCALQ_CONTEXT="4096")
    assert (found["temperature"], found["engine"], found["context"]) == (0.5, "llama", 4096)


def test_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Unknown setting 'temprature'.*Did you mean 'temperature'"):
        load(tmp_path, "temprature = 1")


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("context = 0", "at least 1"),
        ("context = 1.5", "a whole number"),
        ("context = true", "a whole number"),
        ('context = "many"', "a whole number"),
        ("top_p = 1.2", "from 0 to 1"),
        ("temperature = nan", "a number"),
        ("temperature = inf", "a number"),
        ('engine = "cuda"', "one of auto, mlx, llama"),
        ("system = 3", "text"),
        ("context = [", "not valid TOML"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, toml: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load(tmp_path, toml)


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="LOCALQ_SEED"):
        load(tmp_path, "", LOCALQ_SEED="-3")


def test_misspelt_variables_are_found() -> None:
    assert unknown_variables({"LOCALQ_TEMPERATUR": "1", "LOCALQ_SEED": "1", "LOCALQ_HOME": "/", "PATH": "/"}) == [
        "LOCALQ_TEMPERATUR"
    ]
