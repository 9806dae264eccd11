"""Tensors with single weights left out or added, as the arrays that their decode structs read.

A struct wants to know where 16 weights of a row begin in a list; what a file says only for rows is counted here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from localq.formats.base import PackedTensor
from localq.formats.spqr import order_of, outliers_of, second_order, tiles_of
from localq.kernels.inputs import Inputs, Rotation
from localq.kernels.layouts import kind

Array = NDArray[Any]
_LARGEST = 1 << 31  # of a constant of a kernel


def sparse(t: PackedTensor) -> Inputs | None:
    """compressed-tensors' bitmasks; where any weights are kept, 2 bits a weight more say where they begin."""
    form: Any = t.format
    mask = np.ascontiguousarray(t.parts["bitmask"]).view(np.uint16)
    kept = t.parts["compressed"].reshape(-1)
    if kept.size >= _LARGEST:
        return None
    starts = np.zeros(0, np.uint32)
    if not form.regular:
        counts = np.bitwise_count(mask).reshape(-1).astype(np.uint32)
        starts = np.cumsum(counts, dtype=np.uint32) - counts
    scale = t.parts.get("weight_scale")
    scales = np.zeros(0, np.float32) if scale is None else np.broadcast_to(scale.reshape(-1), t.shape[:1])
    e4m3 = kept.dtype.name == "float8_e4m3fn"
    values = kept.view(np.uint8) if e4m3 else kept
    constants: dict[str, int | str] = {"REGULAR": int(form.regular), "E4M3": int(e4m3)}
    constants |= {"SCALED": int(scale is not None), "COUNT": 0 if form.regular else kept.size}
    constants |= {"C": kind(values), "S": kind(scales)}
    return Inputs("sparse", {"w": values, "mask": mask, "starts": starts, "scales": scales}, constants)


def spqr(t: PackedTensor) -> Inputs | None:
    """Codes as they are, outliers in the order of rows and columns; 2 bits a weight more say where they begin."""
    rows, width = t.shape
    if rows % 16:
        return None
    line, columns, values = outliers_of(t)
    place = np.lexsort((columns, line))  # stable: what falls on one weight is added in its order
    line, columns, values = line[place], columns[place].astype(np.uint32), values[place].view(np.uint16)
    chunks = line * (width // 16) + columns // 16
    ends = np.cumsum(np.bincount(chunks, minlength=rows * (width // 16)))
    starts = np.concatenate([[0], ends]).astype(np.uint32)
    lists = np.stack([starts[r * (width // 16) : (r + 1) * (width // 16) + 1] for r in range(rows)])
    words = tiles_of(t)
    arrays: dict[str, Array] = {
        "w": words.view(np.uint32),
        "second": second_order(words),
        "outliers": columns | (values.astype(np.uint32) << 16),
        "starts": lists,
    }
    return Inputs("spqr", arrays, {"COUNT": len(values)}, rotated=Rotation(order=order_of(t).astype(np.int32)))
