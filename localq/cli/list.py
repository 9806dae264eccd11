"""`localq list`: the models on this machine, whichever program brought them."""

from __future__ import annotations

import argparse
import time

from localq.cli.output import Output, printable, size, table
from localq.cli.parser import add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", metavar="WORD", nargs="*", help="only models whose name has all of these")
    add_json(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """A line per model, most recently used first; files that several share count once in the sum."""
    from localq.hub.catalog import installed, total_size

    words = [w.lower() for w in args.words]
    entries = [e for e in installed() if all(w in f"{e.ref} {e.label} {e.source}".lower() for w in words)]
    if out.json:
        out.object({"models": [e.to_dict() for e in entries], "size": total_size(entries)})
        return 0
    if not entries:
        out.say("localq: no model is here" + (" of that name." if words else "; try: localq pull org/name"))
        return 0
    rows = [("model", "format", "container", "size", "last used", "where")]
    rows += [(printable(e.ref), e.label or "-", e.container, size(e.size), ago(e.last_used), e.source) for e in entries]
    out.data(table(rows, right=(3,)))
    out.say(f"localq: {len(entries)} models, {size(total_size(entries))} on disk")
    return 0


def ago(when: float | None) -> str:
    """A time in words, as coarse as it is useful."""
    if when is None:
        return "-"
    seconds = time.time() - when
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
