"""Packed matrices of one format times the same vector in one launch: queries, keys and values; gate and up."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx

from localq_metal.qmv import DEFAULT, Shape
from localq_metal.source import LIMIT, Factory, Packed, Values, body, decoder, inputs

MOST = 3


def fits(each: list[Packed]) -> bool:
    """Whether one launch serves them: two or three matrices of one format, its numbers and in_features alike."""
    first = each[0]
    alike = all((p.stem, p.constants, p.shape[-1]) == (first.stem, first.constants, first.shape[-1]) for p in each)
    return 2 <= len(each) <= MOST and alike and all(len(p.shape) == 2 for p in each)


@cache
def _build(factory: Factory, stem: str, values: Values) -> Callable[..., Any]:
    names = list(inputs(stem, values))
    numbers = ", ".join(f"{n} = {v}" for n, v in values if isinstance(v, int))
    told = (f"enum {{ {numbers} }};\n" if numbers else "") + "".join(
        f"typedef {v} {n};\n" for n, v in values if isinstance(v, str)
    )
    filled = "".join(
        f"  const Format f{i} = {{{', '.join(f'{n}{i}' for n in names)}, uint(N{i}), uint(K)}};\n" for i in range(MOST)
    )
    header, source = told + decoder(stem), filled + body("several")
    assert len(header) + len(source) < LIMIT, stem
    called = "_".join(["several", stem, *(str(v) for _, v in values)])
    listed = [f"{n}{i}" for i in range(MOST) for n in names]
    return factory(
        name=f"localq_{called}", input_names=[*listed, "x"], output_names=["y"], source=source, header=header
    )


def several(factory: Factory, each: list[Packed], x: mx.array, shape: Shape = DEFAULT) -> list[mx.array]:
    """`x [m, in]` times each matrix `[out_i, in]` transposed: `[m, out_i]` in x's dtype, sums as in `qmv`."""
    assert fits(each)
    rows = [p.shape[0] for p in each]
    counts = [*rows, 0][:MOST]
    three = [*each, each[-1]][:MOST]
    groups = -(-sum(rows) // (shape.rows * shape.simdgroups))
    y = _build(factory, each[0].stem, each[0].constants)(
        inputs=[*(a for p in three for a in p.arrays), x.reshape(-1)],
        template=[("T", x.dtype), ("R", shape.rows), ("SG", shape.simdgroups), ("K", each[0].shape[1])]
        + [(f"N{i}", n) for i, n in enumerate(counts)],
        grid=(32 * shape.simdgroups * groups, x.shape[0], 1),
        threadgroup=(32 * shape.simdgroups, 1, 1),
        output_shapes=[(x.shape[0], sum(rows))],
        output_dtypes=[x.dtype],
    )[0]
    ends = [sum(rows[: i + 1]) for i in range(len(rows) - 1)]
    return list(mx.split(y, ends, axis=-1))
