"""What is known about a way of packing weights: `Card`, facts and published figures with their source."""

from __future__ import annotations

from typing import NamedTuple

Part = tuple[int, float, str]  # how many of it, bits each, what it is


class Packing(NamedTuple):
    """One block of weights and everything stored for it; bits per weight follow from it.

    `group` weights share the innermost scale. `name` is the registered format, "" where localq has none.
    """

    name: str
    block: int
    group: int
    symmetric: bool
    parts: tuple[Part, ...]

    @property
    def bits_per_weight(self) -> float:
        return sum(count * bits for count, bits, _ in self.parts) / self.block

    def arithmetic(self) -> str:
        """ "(256 x 4 codes + 8 x 12 scales) / 256 = 4.5"."""
        terms = " + ".join(f"{count} x {bits:g}-bit {what}" if count > 1 else f"one {bits:g}-bit {what}"
                           for count, bits, what in self.parts)  # fmt: skip
        return f"({terms}) / {self.block} weights = {self.bits_per_weight:.5g} bits per weight"


class Figure(NamedTuple):
    """A published measurement and where it was published."""

    text: str
    source: str


class Card(NamedTuple):
    """One scheme, recipe or method, in words for somebody who meets it for the first time."""

    what: str
    packing: Packing | None = None
    mixture: str = ""  # which tensors get which format
    typical: Figure | None = None  # bits per weight of whole models
    activations: str = ""
    engines: str = ""
    made: str = ""
    quality: tuple[Figure, ...] = ()
    who: str = ""
    instead: str = ""
