"""Products of a decoder layer with what stands around them, in one launch: for the few rows that a decode step has.

    norm      before: x over its root mean square, times a gain (RMSNorm)
    act       after: act(gate) * up of two matrices, rows of which alternate in a simdgroup (SwiGLU, GeGLU)
    more      after: y is added to (the residual)
    turn      after: the heads of queries and keys are rotated (RoPE), halves of a head alternating in a simdgroup
    experts   matrices of a stack by number, and their products weighted and added up

`x * gain` is what the weights are multiplied with, and 1 / rms comes to the sum: a simdgroup reads all of x anyway, so
the norm costs it one multiplication and one multiply-add for each element, which R rows share. Sums are float32 and are
rounded once, after everything; layer by layer, MLX rounds after each step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import mlx.core as mx

from localq_metal.qmv import BATCHES, DEFAULT, Shape
from localq_metal.several import MOST
from localq_metal.source import LIMIT, MAX_ROWS, Factory, Packed, Values, body, decoder, inputs

ACTS = ("silu", "gelu")  # gelu: by its tanh approximation


@dataclass(frozen=True, eq=False)
class Norm:
    """RMSNorm of a vector with `gain [in]`."""

    gain: mx.array
    eps: float


@dataclass(frozen=True, eq=False)
class Turn:
    """RoPE of the first `rows` rows of y, heads of `head`: element i with element i + head / 2.

    `table [m, head]`, float32: for every row of x the cosines of head / 2 angles, then their sines.
    """

    table: mx.array
    rows: int
    head: int


@dataclass(frozen=True, eq=False)
class Experts:
    """`named [lines]`: the matrix of the stack for every line of x.

    Without `scores` a row of x meets `count` matrices, a row of y for each of these lines; with `scores [lines]` every
    line has a row of x of its own, and `count` lines times their scores make one row of y.
    """

    named: mx.array
    count: int
    scores: mx.array | None = None


@dataclass(frozen=True, eq=False)
class Around:
    """What is done with the product: nothing, by default. `more [m, out]` is of x's dtype."""

    norm: Norm | None = None
    act: str = ""
    more: mx.array | None = None
    turn: Turn | None = None
    experts: Experts | None = None

    def words(self, matrices: int, rows: int) -> tuple[str, ...]:
        """Of the lines that a kernel has."""
        found = [("norm", self.norm), ("add", self.more is not None), ("turn", self.turn)]
        several = "glu" if self.act else ("one", "two", "three")[matrices - 1]
        scored = self.experts is not None and self.experts.scores is not None
        sure = [several, "stack" if self.experts else "matrix", "scored" if scored else "single"]
        sure += [self.act] if self.act else [] if self.turn else ["plain"]
        return (*(word for word, has in found if has), *sure, "few" if rows > 1 else "vector")

    def inputs(self) -> dict[str, mx.array]:
        """Arrays besides the weights and x, by their names in the text."""
        experts = self.experts
        given = {
            "gain": None if self.norm is None else self.norm.gain,
            "more": None if self.more is None else self.more.reshape(-1),
            "turn": None if self.turn is None else self.turn.table.reshape(-1),
            "expert": None if experts is None else experts.named.astype(mx.uint32).reshape(-1),
            "score": None if experts is None or experts.scores is None else experts.scores.reshape(-1),
        }
        return {name: a for name, a in given.items() if a is not None}


def chosen(text: str, words: tuple[str, ...]) -> str:
    """The lines of a text that are for one of `words`, or for all."""
    lines = (line.partition("  // if ") for line in text.splitlines())
    return "".join(f"{line}\n" for line, _, asked in lines if not asked or set(asked.split()) & set(words))


@cache
def _build(
    factory: Factory, stem: str, values: Values, matrices: int, words: tuple[str, ...], eps: float
) -> Callable[..., Any]:
    names = list(inputs(stem, values))
    numbers = ", ".join(f"{n} = {v}" for n, v in values if isinstance(v, int))
    told = (f"enum {{ {numbers} }};\n" if numbers else "") + "".join(
        f"typedef {v} {n};\n" for n, v in values if isinstance(v, str)
    )
    told += f"constant float EPS = {eps:.9e}f;\n" if "norm" in words else ""
    filled = "".join(
        f"  const Format f{i} = {{{', '.join(f'{n}{i}' for n in names)}, uint(N{i}), uint(K)}};\n"
        for i in range(matrices)
    )
    parts = ("fused", "fused_few" if "few" in words else "fused_vector", "fused_end")
    header, source = told + decoder(stem), filled + chosen("".join(map(body, parts)), words)
    assert len(header) + len(source) < LIMIT, (stem, words)
    more = [n for n, word in _INPUTS if word in words]
    return factory(
        name="_".join(["localq_fused", *words, stem, *(str(v) for _, v in values)]),
        input_names=[*(f"{n}{i}" for i in range(matrices) for n in names), "x", *more],
        output_names=["y"],
        source=source,
        header=header,
    )


_INPUTS = (("gain", "norm"), ("more", "add"), ("turn", "turn"), ("expert", "stack"), ("score", "scored"))


def fused(factory: Factory, each: list[Packed], x: mx.array, around: Around, shape: Shape = DEFAULT) -> mx.array:
    """`x [m, in]` times packed matrices `[out_i, in]` of one format, or the stacks that `around` names matrices of.

    Returns `[m, sum of out_i]` in x's dtype; with `act` `[m, out]`, of two matrices; with experts a row for every line,
    or for `count` lines with their scores. At most 16 rows of x, and one format (`several.fits` says so).
    """
    assert not around.act or (around.act in ACTS and len(each) == 2)
    assert around.turn is None or (around.turn.head % 2 == 0 and around.turn.rows % around.turn.head == 0)
    experts = around.experts
    rows = x.shape[0] if experts is None else experts.named.size // (1 if experts.scores is None else experts.count)
    batch = 1 if experts is not None else next((b for b in (1, *BATCHES) if b >= rows), BATCHES[-1])
    alternate = 2 if around.act or around.turn else 1
    share = max(alternate, min(shape.rows, 16 // batch) // alternate * alternate)
    counts = [p.shape[-2] for p in each]
    groups = -(-sum(counts) // (share * shape.simdgroups))
    out = counts[0] if around.act else sum(counts)
    top, fan = (1, 1) if experts is None else (1, experts.count) if experts.scores is None else (experts.count, 1)
    assert 0 < rows <= MAX_ROWS and out
    template = [("T", x.dtype), ("R", share), ("SG", shape.simdgroups), ("B", batch), ("K", each[0].shape[-1])]
    template += [("TOP", top), ("EACH", fan)] if batch == 1 else []
    template += [("TURNED", around.turn.rows), ("HEAD", around.turn.head)] if around.turn else []
    words = around.words(len(each), batch)
    kernel = _build(factory, each[0].stem, each[0].constants, len(each), words, around.norm.eps if around.norm else 0.0)
    y: mx.array = kernel(
        inputs=[*(a for p in each for a in p.arrays), x.reshape(-1), *around.inputs().values()],
        template=template + [(f"N{i}", n) for i, n in enumerate([*counts, 0, 0][:MOST])],
        grid=(32 * shape.simdgroups * groups, -(-rows // batch), 1),
        threadgroup=(32 * shape.simdgroups, 1, 1),
        output_shapes=[(rows, out)],
        output_dtypes=[x.dtype],
    )[0]
    return y
