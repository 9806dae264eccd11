"""Stop strings, found also where they begin in one piece of text and end in another."""

from __future__ import annotations

from collections.abc import Iterable


class StopStrings:
    """Passes text on until one of `stops` appears; `hit` is that one, and nothing from it on is passed.

    Text that may be the beginning of a stop string is held back until the next piece decides. Of two that appear,
    the one that begins first wins, whatever the pieces were cut into.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.hit: str | None = None

    def add(self, text: str) -> str:
        """The text that is certain not to belong to a stop string."""
        if self.hit is not None:
            return ""
        text = self._held + text
        keep = self._begun(text)
        at, stop = min(((text.find(s), s) for s in self._stops if s in text), default=(len(text), None))
        if stop is not None and at <= len(text) - keep:
            self.hit, self._held = stop, ""
            return text[:at]
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """What was held back, when no more text comes."""
        if self.hit is not None:
            return ""
        text, self._held = self._held, ""
        at, stop = min(((text.find(s), s) for s in self._stops if s in text), default=(len(text), None))
        self.hit = stop
        return text[:at]

    def _begun(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string without being all of it."""
        longest = max(map(len, self._stops), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            tail = text[-size:]
            if any(len(s) > size and s.startswith(tail) for s in self._stops):
                return size
        return 0
