"""Experts that a packed file holds one by one where the original holds stacks.

Quantisers take the stacks of Qwen3-VL, Qwen3.5 or Llama 4 apart, matrix by matrix; the `sanitize` of those
architectures knows the stacks alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import mlx.core as mx

_ONE = re.compile(r"(.*)\.experts\.(\d+)\.(.+)")


def stacked(shown: Mapping[str, mx.array], wanted: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """`shown` with single experts put together where the model, whose parameters are `wanted`, has a stack of them.

    Experts that are not all there, or of different shapes, stay as they are, for a check to name them.
    """
    piles: dict[str, dict[int, str]] = {}
    for name in shown:
        found = _ONE.fullmatch(name)
        if found is None or name in wanted:
            continue
        for stack in (f"{found[1]}.switch_mlp.{found[3]}", f"{found[1]}.experts.{found[3]}"):
            if stack in wanted and stack not in shown:
                piles.setdefault(stack, {})[int(found[2])] = name
    out = dict(shown)
    for stack, members in piles.items():
        alike = len({shown[name].shape for name in members.values()}) == 1
        if alike and members.keys() == set(range(wanted[stack].shape[0])):
            out[stack] = mx.stack([out.pop(members[i]) for i in range(len(members))])
    return out
