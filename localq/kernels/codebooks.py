"""Codebooks and rotations as the arrays that their decode structs read: AQLM, VPTQ, TQ, EXL3 and QuIP#.

Of a rotated format the struct decodes the matrix between the rotations; activations are rotated instead of weights,
so that what the rotations would cost once per weight is paid once per token.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from localq.formats.base import PackedTensor
from localq.formats.e8p import e8_short, e8p
from localq.formats.quip import unpack
from localq.formats.tq import GROUP, signs
from localq.kernels.inputs import WHOLE, Inputs, Rotation
from localq.kernels.layouts import kind, stream

Array = NDArray[Any]
_BOOKS = {"": 0, "mcg": 1, "mul1": 2}


def tq(t: PackedTensor) -> Inputs | None:
    """Codes and norms; inputs are rotated in blocks of 128, their signs before."""
    form: Any = t.format
    arrays = {"w": np.ascontiguousarray(t.parts["weight"]).view(np.uint16), "norms": t.parts["norms"]}
    before = signs(int(t.parts["seed"]), t.shape[-1])
    rotated = Rotation(GROUP, before=before)
    return Inputs("tq", arrays, {"BITS": int(form.bits)}, {"levels": form.levels()}, rotated)


def higgs(t: PackedTensor) -> Inputs | None:
    """Pairs of weights in the order of rows, a stream of them; inputs are rotated."""
    form: Any = t.format
    bits, width = int(form.bits), t.shape[-1]
    pairs = form.codes(t, np.arange(t.shape[0] // form.row_multiple)).reshape(t.shape[0], -1)
    grid, scales = form.scales(t)["tables2"], t.parts["scales"]
    arrays = {"w": stream(pairs, 2 * bits), "grid": grid, "scales": scales}
    constants: dict[str, int | str] = {"BITS": bits, "GROUP": form.group_size, "S": kind(scales), "V": kind(grid)}
    after = np.full(width, 1 / np.sqrt(form.hadamard), np.float32)
    return Inputs("higgs", arrays, constants, rotated=Rotation(form.hadamard, after=after))


def aqlm(t: PackedTensor) -> Inputs | None:
    """The stored arrays as they are."""
    form: Any = t.format
    og, ig = form.block
    codes, books, scales = t.parts["codes"], t.parts["codebooks"], t.parts["scales"]
    unsigned = np.ascontiguousarray(codes).view(f"u{codes.dtype.itemsize}")
    constants: dict[str, int | str] = {"BOOKS": form.books, "BITS": form.index_bits, "OG": og, "IG": ig}
    constants |= {"C": kind(unsigned), "S": kind(scales), "V": kind(books)}
    return Inputs("aqlm", {"w": unsigned, "books": books, "scales": scales}, constants)


def vptq(t: PackedTensor) -> Inputs | None:
    """The stored arrays, scale and bias in the order of the columns; inputs are put into it."""
    form: Any = t.format
    (v, k), (extra, vo, ko), parts = form.main, form.outliers, t.parts
    names = ("centroids.weight", "res_centroids.weight", "outlier_centroids.weight", "weight_scale", "weight_bias")
    main = parts["centroids.weight"]
    if any(parts[n].dtype != main.dtype for n in names if n in parts):
        return None
    order = parts["perm"].view(np.uint16).astype(np.int32) if form.ordered else None
    none = main[:0].reshape(-1)
    scale, bias = (parts.get(n, none) for n in ("weight_scale", "weight_bias"))
    if order is not None and form.normed:
        scale, bias = scale[order], bias[order]
    constants: dict[str, int | str] = {"V": v, "LOW": k.bit_length() - 1}
    constants |= {"HIGH": form.residual.bit_length() - 1 if form.residual else 0, "TABLES": form.tables}
    constants |= {"EXTRA": extra, "VO": max(vo, 1), "KO": ko, "NORMED": int(form.normed), "S": kind(main)}
    arrays: Mapping[str, Array] = {
        "w": np.ascontiguousarray(parts["indices"]).view(np.uint32),
        "main": main,
        "residual": parts.get("res_centroids.weight", none),
        "extra": parts.get("outlier_indices", np.zeros(0, np.int16)).view(np.uint16),
        "outliers": parts.get("outlier_centroids.weight", none),
        "scales": scale,
        "biases": bias,
    }
    return Inputs("vptq", arrays, constants, rotated=None if order is None else Rotation(order=order))


def exl3(t: PackedTensor) -> Inputs | None:
    """The trellis as it is; both sides are rotated in blocks of 128, inputs scaled before, outputs after."""
    form: Any = t.format
    left, right = (form.vector(t, name) for name in ("su", "sv"))
    words = np.ascontiguousarray(t.parts["trellis"]).view(np.uint32)
    return Inputs(
        "exl3",
        {"w": words},
        {"HALVES": int(2 * form.bits), "BOOK": _BOOKS[form.book]},
        rotated=Rotation(128, before=left),
        turned=Rotation(128, after=right * np.float32(1 / 128)),
    )


def quip(t: PackedTensor) -> Inputs | None:
    """Codes in the order of rows; rotations run over whole vectors, also of a matrix that a tensor is a piece of."""
    form: Any = t.format
    packed, width, bits = t.parts["Qidxs"], t.shape[1], int(form.bits)
    points, short8 = _e8p_points()
    before, after = (t.parts[n].astype(np.float32) for n in ("SU", "SV"))
    if "scaleWH" in t.parts:
        before = (before / t.parts["scaleWH"]).astype(np.float32)
    after = after * t.parts["Wscale"].astype(np.float32)
    if form.piece:
        after = after[form.piece[0] : form.piece[1]] * t.parts["fuse_scales"][form.piece[3]].astype(np.float32)
    second = np.zeros(0, np.uint16)
    if bits == 3:
        second = np.ascontiguousarray(packed[:, width // 32 :]).view(np.uint16)
    elif bits == 4:
        second = unpack(packed[:, width // 32 :])
    quarters = np.arange(-16, 16, dtype=np.float32) / np.float32(4)
    quotients: Array = quarters / np.float32(form.divisor or 1)
    return Inputs(
        "quip",
        {"w": unpack(packed[:, : width // 32]), "second": second},
        {"LAYERS": bits},
        {"points": points, "short8": short8, "quotients": quotients},
        Rotation(WHOLE, True, before=before),
        Rotation(WHOLE, after=after, part=form.piece[:3] or None),
        packed if form.piece else None,
    )


@cache
def _e8p_points() -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Four times E8P's vectors before signs (codes whose low byte is 0 add 1/4) and the short vectors of E8."""
    found = 4 * e8p().reshape(256, 256, 8)[:, 0] - 1
    return found.astype(np.int8), (4 * e8_short()).astype(np.int8)
