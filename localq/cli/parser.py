"""argparse in localq's manner: a wrong command line is a `UsageError`, one sentence with the nearest right word."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from localq.errors import UsageError


class Parser(argparse.ArgumentParser):
    """Raises instead of printing the usage and leaving."""

    def error(self, message: str) -> NoReturn:
        hint = f"See: {self.prog} --help"
        if unknown := re.match(r"unrecognized arguments: (-\S+)", message):
            import difflib

            flags = [f for a in self._actions for f in a.option_strings if f.startswith("--")]
            if near := difflib.get_close_matches(unknown[1].split("=")[0], flags, 1, 0.6):
                hint = f"Did you mean {near[0]}?"
        raise UsageError(message[:1].upper() + message[1:].rstrip(".") + ".", hint)


def make_parser(verb: str, about: str) -> Parser:
    """A parser with the options every verb has."""
    parser = Parser(prog=f"localq {verb}", description=about[:1].upper() + about[1:] + ".", allow_abbrev=False)
    parser.add_argument("-q", "--quiet", action="store_true", help="say less on stderr")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")
    parser.add_argument("--debug", action="store_true", help="show a traceback when something fails")
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """For verbs that print a table."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_model(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    """What every verb that opens a model takes; `optional` for a verb that has other work too."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?" if optional else None,
        help="'demo', a folder, a .gguf file, or org/name[:LABEL]",
    )
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit of a cached repository")
    parser.add_argument("--engine", choices=("auto", "mlx", "llama"), help="who computes (default: auto)")
    parser.add_argument("--context", type=positive, metavar="N", help="tokens to keep room for")
    parser.add_argument("--kv-cache-dtype", metavar="TYPE", help="how the KV cache is stored, where the engine can")


def positive(text: str) -> int:
    """A whole number above zero."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return value


def natural(text: str) -> int:
    """A whole number of 0 or more."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 0 or more")
    return int(text)


def number(text: str) -> float:
    """A finite number that is not negative."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of 0 or more")
    return value


def share(text: str) -> float:
    """A number between 0 and 1."""
    value = number(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not between 0 and 1")
    return value
