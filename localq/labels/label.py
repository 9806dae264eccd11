"""What a name says: `Label`, its fields, and the pieces it was read from."""

from __future__ import annotations

from typing import Any, NamedTuple


class Piece(NamedTuple):
    """A part of the name as written, what kind of part it is, and what it was read as ("" for an unknown one)."""

    text: str
    kind: str
    value: str


class Label(NamedTuple):
    """A name, read. Every field is None where the name does not say it. (No dataclass: importing those costs 10 ms.)

    `parameters` and `active_parameters` are plain counts (27B is 27000000000); bits are per weight, activation or
    cached value, as the name or the definition of its scheme gives them; `group_size` counts weights; `shard` is
    (number, of how many). `unknown` are the parts nothing is known about, `notes` say what the name leaves open.
    """

    text: str
    organisation: str | None = None
    family: str | None = None
    version: str | None = None
    parameters: int | None = None
    active_parameters: int | None = None
    variant: str | None = None
    date: str | None = None
    container: str | None = None
    method: str | None = None
    scheme: str | None = None
    weight_bits: int | float | None = None
    activation_bits: int | None = None
    kv_bits: int | None = None
    group_size: int | None = None
    number_format: str | None = None
    block_structure: str | None = None
    tier: str | None = None
    imatrix: bool | None = None
    dynamic: bool | None = None
    shard: tuple[int, int] | None = None
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pieces: tuple[Piece, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The known fields by name, plain types; `text`, `unknown`, `notes` and `pieces` are attributes only."""
        return {key: getattr(self, key) for key in KEYS if getattr(self, key) is not None}

    def __str__(self) -> str:
        """The reading in one line: "Qwen 3.6 27B instruct, gguf Q4_K_M, 4-bit weights"."""
        model = [self.family, self.version, short(self.parameters)]
        if self.active_parameters:
            model.append(f"({short(self.active_parameters)} active)")
        model += [self.variant, self.date]
        packing = [self.container, self.method, self.scheme]
        bits = f"{self.weight_bits:g}-bit weights" if self.weight_bits else ""
        activations = f"{self.activation_bits}-bit activations" if self.activation_bits else ""
        shard = f"part {self.shard[0]} of {self.shard[1]}" if self.shard else ""
        groups = (_joined(model), _joined(packing), bits, activations, shard)
        return ", ".join(g for g in groups if g) or f"nothing known in '{self.text}'"


KEYS = tuple(name for name in Label._fields if name not in ("text", "unknown", "notes", "pieces"))


def short(count: int | None) -> str:
    """27000000000 as 27B, 270000000 as 270M; "" for None."""
    if not count:
        return ""
    for unit, factor in (("T", 10**12), ("B", 10**9), ("M", 10**6)):
        if count >= factor:
            return f"{count / factor:.4g}{unit}"
    return str(count)


def _joined(words: list[str | None]) -> str:
    return " ".join(w for w in words if w)
