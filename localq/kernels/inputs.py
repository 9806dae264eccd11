"""What formats give to the kernels: the arrays of a decode struct, and what happens to activations around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float32]
WHOLE = -1  # a rotation over the whole vector


@dataclass(frozen=True)
class Rotation:
    """`after * H(before * x[order])[part]` of vectors of one length; what is None is left out.

    `block` is the order of H: 0 for none, a power of two that divides the length (H without a factor), or `WHOLE`
    (QuIP#'s over the whole length, divided by its root; `transposed` if asked).
    """

    block: int = 0
    transposed: bool = False
    before: Floats | None = None
    after: Floats | None = None
    order: Array | None = None  # int32; stored column j is input order[j]
    part: tuple[int, int, int] | None = None  # of the rotated: from, to, of how many
    matrix: Floats | None = None  # instead of H: `[h, h]`, what every h values of a row are multiplied with


@dataclass(frozen=True)
class Inputs:
    """Arrays of one matrix, or of the same stack, by the names of the struct's members, and its constants.

    `tables` are shared by all matrices of a stack and must be equal in them. The matrix that the struct decodes is
    multiplied with `rotated(x)`, and `turned` is done to the product; it has the rows of `turned.part` where that is
    given, and tensors of equal `shared` (a stored array) are parts of one matrix, which is kept once.
    """

    stem: str
    arrays: Mapping[str, Array]
    constants: Mapping[str, int | str] = field(default_factory=dict)
    tables: Mapping[str, Array] = field(default_factory=dict)
    rotated: Rotation | None = None
    turned: Rotation | None = None
    shared: Array | None = None
