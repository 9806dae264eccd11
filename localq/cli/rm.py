"""`localq rm MODEL`: remove a model, and the bytes nothing else uses."""

from __future__ import annotations

import argparse
import sys

from localq.cli.output import Output, printable, size
from localq.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="org/name, org/name:LABEL, or a folder used with --local-dir")
    parser.add_argument("--revision", metavar="REV", help="only this branch, tag or commit")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")


def run(args: argparse.Namespace, out: Output) -> int:
    """Say what goes, ask, remove."""
    from localq.hub.removal import plan_removal, remove

    removal = plan_removal(args.model, args.revision)
    kept = f"; {size(removal.kept)} stay, other revisions use them" if removal.kept else ""
    count = f"{len(removal.names)} file{'' if len(removal.names) == 1 else 's'}"
    out.say(f"localq: removing {printable(removal.what)}: {count}, frees {size(removal.freed)}{kept}")
    if args.dry_run:
        for path in removal.names:
            out.data(printable(path))
        return 0
    if not args.yes and not _agreed():
        out.say("localq: nothing was removed.")
        return 1
    remove(removal)
    return 0


def _agreed() -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("Removal asks first, and there is no terminal to ask on.", "Add -y.")
    sys.stderr.write("Remove? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
