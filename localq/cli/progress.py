"""One line on stderr that shows how far a download is; nothing where stderr is no terminal."""

from __future__ import annotations

import os
import sys
import threading
import time

from localq.cli.output import Output, printable, size

_EVERY = 0.1  # seconds between two drawings
_WINDOW = 5.0  # seconds the speed is averaged over


class Progress:
    """Counts bytes from any thread; drawn at most ten times a second."""

    def __init__(self, total: int, out: Output) -> None:
        self.total, self.out = total, out
        self.done = 0
        silenced = (os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS") or "").upper() in ("1", "ON", "YES", "TRUE")
        self.shown = sys.stderr.isatty() and not out.quiet and not silenced
        self._lock = threading.Lock()
        self._points = [(time.monotonic(), 0)]

    def moved(self, count: int) -> None:
        """`count` more bytes are right here (fewer, if negative)."""
        with self._lock:
            self.done += count
            now = time.monotonic()
            if self.shown and now - self._points[-1][0] >= _EVERY:
                self._points = [p for p in self._points if now - p[0] < _WINDOW] + [(now, self.done)]
                self._draw(now)

    def said(self, text: str) -> None:
        """A line of talk above the bar."""
        with self._lock:
            self._clear()
            self.out.say(f"localq: {printable(text)}")

    def _draw(self, now: float) -> None:
        started, before = self._points[0]
        rate = max(self.done - before, 0) / max(now - started, 1e-3)
        share = self.done / max(self.total, 1)
        bar = ("#" * int(20 * min(share, 1))).ljust(20, "-")
        left = f", {_clock((self.total - self.done) / rate)} left" if rate > 0 and self.done < self.total else ""
        line = f"{bar} {100 * share:3.0f} %  {size(self.done)} of {size(self.total)}, {size(rate)}/s{left}"
        sys.stderr.write(f"\r\x1b[2K{line}")
        sys.stderr.flush()

    def _clear(self) -> None:
        if self.shown:
            sys.stderr.write("\r\x1b[2K")

    def close(self) -> None:
        """Take the bar away."""
        with self._lock:
            self._clear()
            self.shown = False
            sys.stderr.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s"
