"""Where words go: data to stdout, talk to stderr, colour only on a terminal that wants it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, TextIO


class Output(NamedTuple):
    """How this command line wants to be answered."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False

    def data(self, text: str) -> None:
        """A line of data."""
        sys.stdout.write(text + "\n")

    def object(self, value: Any) -> None:
        """A JSON document."""
        import json

        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

    def say(self, text: str) -> None:
        """Talk, silenced by -q."""
        if not self.quiet:
            sys.stderr.write(text + "\n")

    def detail(self, text: str) -> None:
        """Talk only -v wants."""
        if self.verbose and not self.quiet:
            sys.stderr.write(text + "\n")


def has_colour(stream: TextIO) -> bool:
    """Whether escape codes may be written to `stream` (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, code: str, stream: TextIO) -> str:
    """`text` in an SGR colour ("31" red, "2" dim) where the stream has colour."""
    return f"\x1b[{code}m{text}\x1b[0m" if has_colour(stream) else text


def write_error(message: str, hint: str = "") -> None:
    """One sentence, and on a second line what to do next; control characters of hostile names are escaped."""
    sys.stderr.write(f"{paint('localq:', '31', sys.stderr)} {printable(message)}\n")
    if hint:
        sys.stderr.write(f"  {printable(hint)}\n")


def printable(text: str) -> str:
    """`text` on one line, with control characters written as escapes: a file's name cannot drive the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows as aligned columns, the first row being the heads; columns in `right` are right-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def size(count: float) -> str:
    """Bytes in decimal units, as disks and model pages give them."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"


def amount(count: float) -> str:
    """A number of weights: 260 K, 3.67 M, 8.03 B."""
    for unit, factor in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return str(int(count))
