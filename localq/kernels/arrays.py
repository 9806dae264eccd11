"""What a packed tensor gives to the kernel of its format: the arrays that the decode struct declares, in numpy.

ggml's types give their bytes. `TABLES` has what a struct reads besides and all matrices of a format share (grids too
large for the kernel's text); `LAYOUTS` how tensors of other formats are laid out for their struct.
"""

from __future__ import annotations

import itertools
import mmap
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localq.formats import grids
from localq.formats.base import GGMLFormat, PackedTensor
from localq.formats.rotated import IN, OUT, Rotated
from localq.kernels import codebooks, layouts, sparse
from localq.kernels.inputs import Inputs, Rotation
from localq.kernels.residency import mapping
from localq_metal import source

Array = NDArray[Any]
_AS_MLX: dict[str, tuple[str, mx.Dtype]] = {"bfloat16": ("uint16", mx.bfloat16)}  # numpy has no such dtypes of MLX's


def _grid(name: str, dtype: type[np.generic]) -> Mapping[str, Callable[[], Array]]:
    words = grids.codes if dtype is np.uint16 else grids.words
    return {"grid": lambda: words(name).view(dtype)}


def _scale_of_rows(t: PackedTensor) -> Inputs:
    """The second scale of nvfp4, one for every row, so that rows counted through a stack find theirs."""
    return Inputs("nvfp4_ggml", {"w": t.parts["weight"], "scale": np.repeat(t.parts["scale"], t.shape[-2])})


TABLES: dict[str, Mapping[str, Callable[[], Array]]] = {  # stem -> member -> the table
    **{stem: _grid(stem.replace("_", ""), np.uint64) for stem in ("iq2_xxs", "iq2_xs", "iq2_s")},
    **{stem: _grid(stem.replace("_", ""), np.uint32) for stem in ("iq3_xxs", "iq3_s")},
    **dict.fromkeys(("iq1_s", "iq1_m"), _grid("iq1s", np.uint16)),
}
LAYOUTS: dict[str, Callable[[PackedTensor], Inputs | None]] = {  # stem -> arrays, None where the struct has no place
    "nvfp4_ggml": _scale_of_rows,
    **{"integers": layouts.integers, "fp8": layouts.fp8, "bnb_4bit": layouts.bnb_4bit, "tq": codebooks.tq},
    **{"higgs": codebooks.higgs, "mxfp6": layouts.mxfp6, "sparse": sparse.sparse, "spqr": sparse.spqr},
    **{"aqlm": codebooks.aqlm, "vptq": codebooks.vptq, "exl3": codebooks.exl3, "quip": codebooks.quip},
}


def inputs(t: PackedTensor) -> Inputs | None:
    """The arrays of a matrix `[out, in]` for the struct of its format, tables not among them.

    None where there is no struct for it, or none that holds this very tensor.
    """
    stem = t.format.kernel
    if issubclass(t.format, Rotated):
        return _between(t)
    if stem is None or len(t.shape) != 2 or t.shape[-1] % 16:  # bodies take 16 weights of a row at a time
        return None
    if stem in LAYOUTS:
        return LAYOUTS[stem](t)
    if issubclass(t.format, GGMLFormat) and set(t.parts) == {"weight"}:
        return Inputs(stem, {"w": t.parts["weight"]})
    return None


def _between(t: PackedTensor) -> Inputs | None:
    """What stands between rotations that a file leaves to run time; matrices of them are one for a stack."""
    form: Any = t.format
    inner = inputs(form.inside(t))
    if inner is None or inner.rotated is not None or inner.turned is not None:
        return None
    sides = ((form.inputs, IN, t.shape[-1]), (form.outputs, OUT, t.shape[-2]))
    rotated, turned = (_turn(size, t.parts.get(name), length) for size, name, length in sides)
    stored = {name: t.parts[name] for name in form.stored}
    return replace(inner, rotated=rotated, turned=turned, tables={**inner.tables, **stored})


def _turn(size: int, matrix: Array | None, length: int) -> Rotation | None:
    if matrix is not None:
        return Rotation(matrix=matrix)
    return Rotation(size, after=np.full(length, size**-0.5, np.float32)) if size else None


def packed(each: list[Inputs], shape: tuple[int, ...]) -> source.Packed:
    """Copy the inputs of matrices of one kind into MLX memory, one after the other; `shape` is that of the stack."""
    first = each[0]
    if first.turned is not None and first.turned.part is not None:
        shape = (*shape[:-2], first.turned.part[2], shape[-1])
    known = _whole(first) if len(each) == 1 else None
    if known is not None:
        return known
    tables = TABLES.get(first.stem, {})
    out = []
    constants = tuple(first.constants.items())
    for name, dtype in source.inputs(first.stem, constants).items():
        if name in tables:
            whole = flat([tables[name]()])
        elif name in first.tables:
            whole = flat([first.tables[name]])
        else:
            whole = flat([one.arrays[name] for one in each])
        assert whole.dtype == dtype, f"{first.stem}: '{name}' is {whole.dtype}; its struct declares {dtype}"
        out.append(whole)
    mx.eval(out)
    made = source.Packed(first.stem, tuple(out), shape, constants)
    if len(each) == 1 and first.shared is not None and (key := _place(first.shared)) is not None:
        _WHOLE[key] = made
    return made


_WHOLE: weakref.WeakValueDictionary[tuple[int, int, int], source.Packed] = weakref.WeakValueDictionary()


def _whole(one: Inputs) -> source.Packed | None:
    """The packed matrix that another part of it was made of, while both its file and that part are held."""
    key = None if one.shared is None else _place(one.shared)
    return None if key is None else _WHOLE.get(key)


def _place(stored: Array) -> tuple[int, int, int] | None:
    """The mapped file an array lies in, where and how long; None for memory of its own, whose place may be reused."""
    owner, base = mapping(stored)
    if owner is None:
        return None
    if owner not in _FILES:
        _FILES[owner] = next(_NUMBERS)
    return _FILES[owner], stored.__array_interface__["data"][0] - base, stored.nbytes


_FILES: weakref.WeakKeyDictionary[mmap.mmap, int] = weakref.WeakKeyDictionary()  # a number is never given twice
_NUMBERS = itertools.count()


def alike(one: Inputs, other: Inputs) -> bool:
    """Whether two matrices fit into one stack."""
    return (one.stem, one.constants, one.tables.keys()) == (other.stem, other.constants, other.tables.keys()) and all(
        np.array_equal(table, other.tables[name]) for name, table in one.tables.items()
    )


def flat(parts: list[Array]) -> mx.array:
    """numpy arrays as one MLX array of one axis, of at least as many elements as kernels want."""
    stored, dtype = _AS_MLX.get(parts[0].dtype.name, (parts[0].dtype.name, None))
    each = [mx.array(np.ascontiguousarray(p).reshape(-1).view(stored)) for p in parts]
    whole = each[0] if len(each) == 1 else mx.concatenate(each)
    if whole.size < source.LEAST:
        whole = mx.pad(whole, (0, source.LEAST - whole.size))
    return whole if dtype is None else whole.view(dtype)
