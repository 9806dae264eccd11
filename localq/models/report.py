"""What a load made of a checkpoint: for every format, how its weights are multiplied and whether any value changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlx.nn.layers.base import Module

from localq.formats.base import EXACTNESS, Exactness
from localq.models.linear import PackedEmbedding, PackedLinear, PackedMultiLinear, PackedSwitchLinear


@dataclass(frozen=True)
class Row:
    """One format and way. `error` is the largest of the repack, in quantisation steps; `nbytes` is as stored."""

    format: str
    way: str
    matrices: int
    nbytes: int
    exactness: Exactness
    error: float


@dataclass(frozen=True)
class LoadReport:
    """Rows, the largest first; `dense`: parameters given as floats; `unused`: stored arrays nobody reads -> why."""

    rows: tuple[Row, ...]
    dense: int
    unused: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {"weights": [asdict(row) for row in self.rows], "dense": self.dense, "unused": dict(self.unused)}

    def lines(self) -> list[str]:
        """One sentence a row."""
        said = [
            f"{row.format}: {row.matrices} matrices, {row.way}, {row.exactness}"
            + (f" (largest error {row.error:.2g} quantisation steps)" if row.error else "")
            for row in self.rows
        ]
        return said + [f"{count} stored arrays left out: {why}" for why, count in Counter(self.unused.values()).items()]


def report(model: Module, dense: Iterable[str], unused: Mapping[str, str]) -> LoadReport:
    """Walk a filled model's packed layers."""
    rows: dict[tuple[str, str], Row] = {}
    for _, layer in model.named_modules():
        if not isinstance(layer, (PackedLinear, PackedEmbedding, PackedSwitchLinear, PackedMultiLinear)):
            continue
        for one in layer.placed:
            ways, count = one.ways, one.shape[0] if len(one.shape) > 2 else 1
            new = Row(one.format, ways.way, count, one.nbytes, ways.exactness, ways.error)
            rows[new.format, new.way] = _sum(rows.get((new.format, new.way)), new)
    ordered = sorted(rows.values(), key=lambda row: (-row.nbytes, row.format, row.way))
    return LoadReport(tuple(ordered), len(list(dense)), dict(unused))


def _sum(a: Row | None, b: Row) -> Row:
    if a is None:
        return b
    worst = max(a.exactness, b.exactness, key=EXACTNESS.index)
    return Row(a.format, a.way, a.matrices + b.matrices, a.nbytes + b.nbytes, worst, max(a.error, b.error))
