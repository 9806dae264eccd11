"""What a user may set once instead of typing it every time: one schema for defaults, environment and config file.

Order, weakest first: the defaults below, `config.toml` (see `localq.paths.config_file`), `LOCALQ_<NAME>` in the
environment, options on the command line. A key nobody knows is an error naming the nearest one that exists.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from localq.errors import UsageError
from localq.paths import config_file


class Setting(NamedTuple):
    """One row of the schema. `kind` is int, float or str; `choices` empty for any value."""

    name: str
    kind: type
    default: int | float | str | None
    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


SCHEMA: tuple[Setting, ...] = (
    Setting("engine", str, "auto", "who computes", ("auto", "mlx", "llama")),
    Setting("context", int, None, "tokens to keep room for; unset: what the model was made for", least=1),
    Setting("kv_cache_dtype", str, None, "how the KV cache is stored; unset: as the activations"),
    Setting("max_tokens", int, None, "longest answer, in tokens; unset: to the end of the context", least=1),
    Setting("temperature", float, None, "0 is greedy; unset: what the model recommends, else 0.7", least=0),
    Setting("top_p", float, None, "sample from the likeliest tokens that make up this share", least=0, most=1),
    Setting("top_k", int, None, "sample from this many likeliest tokens; 0: all", least=0),
    Setting("min_p", float, None, "drop tokens less likely than this share of the likeliest", least=0, most=1),
    Setting("seed", int, None, "makes sampling repeatable", least=0),
    Setting("system", str, None, "system message of every conversation"),
)
_BY_NAME = {s.name: s for s in SCHEMA}

# Variables of the same prefix that are no settings of a run.
OTHER_VARIABLES = ("LOCALQ_HOME", "LOCALQ_KERNELS", "LOCALQ_TEST_DATA")

Settings = dict[str, Any]


def load_settings(environment: Mapping[str, str] | None = None, file: str | None = None) -> Settings:
    """Every setting by name, after the config file and the environment.

    Raises:
        UsageError: an unknown key in the file, or a value of the wrong kind, naming where it stands.
    """
    environment = os.environ if environment is None else environment
    found: Settings = {s.name: s.default for s in SCHEMA}
    file = config_file() if file is None else file
    for key, value in _read(file).items():
        if key not in _BY_NAME:
            raise UsageError(f"Unknown setting '{key}' in {file}.", nearest(key))
        found[key] = _checked(_BY_NAME[key], value, file)
    for setting in SCHEMA:
        variable = f"LOCALQ_{setting.name.upper()}"
        if environment.get(variable):
            found[setting.name] = _checked(setting, environment[variable], variable)
    return found


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """`LOCALQ_*` variables that mean nothing: a misspelt one would be ignored silently, so `doctor` names it."""
    environment = os.environ if environment is None else environment
    known = {f"LOCALQ_{s.name.upper()}" for s in SCHEMA} | set(OTHER_VARIABLES)
    return sorted(v for v in environment if v.startswith("LOCALQ_") and v not in known)


def nearest(key: str) -> str:
    """A sentence naming the setting that was probably meant, or all of them."""
    import difflib

    near = difflib.get_close_matches(key, _BY_NAME, 1, 0.6)
    return f"Did you mean '{near[0]}'?" if near else f"Settings are {', '.join(_BY_NAME)}."


def _read(file: str) -> dict[str, Any]:
    import tomllib

    try:
        with open(file, "rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}.", "Mend that line or remove the file.") from error


def _checked(setting: Setting, value: Any, where: str) -> int | float | str:
    """`value` (a string from the environment, a TOML value from a file) as the setting's kind and in its range."""
    wanted = {int: "a whole number", float: "a number", str: "text"}[setting.kind]
    wrong = UsageError(f"'{setting.name}' in {where} is {value!r}; expected {wanted}{_range(setting)}.")
    if isinstance(value, bool) or (setting.kind is str and not isinstance(value, str)):
        raise wrong
    try:
        typed = setting.kind(value)
    except (TypeError, ValueError) as error:
        raise wrong from error
    if isinstance(value, float) and typed != value:
        raise wrong
    if setting.choices and typed not in setting.choices:
        raise wrong
    if setting.kind is not str:
        low = setting.least if setting.least is not None else float("-inf")
        high = setting.most if setting.most is not None else float("inf")
        if not low <= typed <= high or typed in (float("inf"), float("-inf")):
            raise wrong
    result: int | float | str = typed
    return result


def _range(setting: Setting) -> str:
    if setting.choices:
        return f", one of {', '.join(setting.choices)}"
    if setting.most is not None:
        return f" from {setting.least:g} to {setting.most:g}"
    return f" of at least {setting.least:g}" if setting.least is not None else ""
