"""Size against quality, drawn: a plot of characters for the terminal, SVG for a file.

x is the size of the weights, y the published KL divergence on a logarithmic scale (less is better); builds without a
published figure are listed, not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from localq.errors import UnsupportedError
from localq.fit.choose import Candidate
from localq.fit.quality import SOURCE


class Point(NamedTuple):
    """One build: gigabytes, divergence in nats, its name, whether it fits, whether it is the one to take."""

    gigabytes: float
    kld: float
    name: str
    fits: bool
    best: bool


def points(candidates: Sequence[Candidate], best: Candidate | None) -> list[Point]:
    """The builds that can be drawn, smallest first.

    Raises:
        UnsupportedError: none has a published figure.
    """
    found = [
        Point(c.offer.nbytes / 1e9, c.quality.kld, c.offer.label.scheme or c.offer.ref, c.fits, c is best)
        for c in candidates
        if c.quality
    ]
    if not found:
        raise UnsupportedError(
            "No build of this model has a published quality figure to draw.", "localq choose lists them in a table."
        )
    return sorted(found)


def text(found: Sequence[Point], width: int = 72, height: int = 16) -> str:
    """The plot in characters: `*` the one to take, `o` fits, `x` does not fit."""
    area = _Area.around(found, width - 12, height - 2)
    rows = [[" "] * (width - 10) for _ in range(height - 1)]
    notes = []
    for number, point in enumerate(found):
        x, y = round(area.x(point.gigabytes)), round(area.y(point.kld))
        rows[y][x] = "*" if point.best else "o" if point.fits else "x"
        mark = "<- take this" if point.best else "" if point.fits else "does not fit"
        notes.append(f"  {number + 1:>2} {point.name:<14}{point.gigabytes:8.2f} GB  {point.kld:.4f}  {mark}".rstrip())
    scale = [f"{area.kld_at(y):8.4f} |" if y % 4 == 0 else "         |" for y in range(height - 1)]
    lines = [left + "".join(row).rstrip() for left, row in zip(scale, rows, strict=True)]
    axis = "         +" + "-" * (width - 11)
    ends = f"          {area.left:.1f} GB{'size of the weights':^{width - 28}}{area.right:.1f} GB"
    return "\n".join(["KL divergence (log)", *lines, axis, ends, f"KL divergence: {SOURCE}", *notes])


def svg(found: Sequence[Point], title: str) -> str:
    """The plot as an SVG document of 720 x 420."""
    area = _Area.around(found, 600, 300)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="720" height="420" font-family="sans-serif" font-size="12">',
        '<rect width="720" height="420" fill="white"/>',
        f'<text x="60" y="28" font-size="15">{escape(title)}</text>',
        '<path d="M60 50V360H680" fill="none" stroke="black"/>',
        f'<text x="60" y="380">{area.left:.1f} GB</text><text x="640" y="380">{area.right:.1f} GB</text>',
        f'<text x="60" y="404">size of the weights; up: KL divergence, logarithmic ({escape(SOURCE)})</text>',
        f'<text x="6" y="62">{area.kld_at(0):.3g}</text><text x="6" y="358">{area.kld_at(300):.3g}</text>',
    ]
    for point in found:
        x, y = 60 + area.x(point.gigabytes), 55 + area.y(point.kld)
        colour = "#d33" if not point.fits else "#284" if point.best else "#27c"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{7 if point.best else 4}" fill="{colour}"/>')
        parts.append(f'<text x="{x + 8:.1f}" y="{y - 6:.1f}">{escape(point.name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


class _Area(NamedTuple):
    """Where data lands: x linear from `left` to `right`, y logarithmic with the largest divergence on top."""

    left: float
    right: float
    low: float
    high: float
    width: int
    height: int

    @classmethod
    def around(cls, found: Sequence[Point], width: int, height: int) -> _Area:
        sizes, logs = [p.gigabytes for p in found], [math.log(p.kld) for p in found]
        room = 0.05 * (max(sizes) - min(sizes)) or 0.1 * max(sizes)
        return cls(max(min(sizes) - room, 0.0), max(sizes) + room, min(logs) - 0.1, max(logs) + 0.1, width, height)

    def x(self, gigabytes: float) -> float:
        return self.width * (gigabytes - self.left) / (self.right - self.left)

    def y(self, kld: float) -> float:
        return self.height * (self.high - math.log(kld)) / (self.high - self.low)

    def kld_at(self, y: float) -> float:
        return math.exp(self.high - (self.high - self.low) * y / self.height)
