"""MLX's own quantised kernels (affine, mxfp4, mxfp8, nvfp4) and, for float formats on a GPU, its plain matmul.

`Format.to_native` says how a tensor is written in a mode of MLX's. Two traps are handled here. Scales of another
dtype than half-precision activations make MLX return float32 and cast on every call: they are cast once, where the
cast loses nothing, and become float32 otherwise. (For float32 activations they stay 16-bit as stored: the result is
float32 either way, and wider ones would add a tenth to a 4-bit model.) And what `quantized_matmul` has no place for
is done around it: a second scale multiplies the output, a scale or an order of the inputs is applied before.

`many`, where it is given, is the same weights for the reference, which is faster on a CPU with many tokens.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localq.formats import find
from localq.formats.base import Exactness, PackedTensor
from localq.kernels import reference
from localq.kernels.filling import fill, fill_floats

NAME = "native"
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class NativeWeight:
    """A weight in MLX memory: `[..., out, in]` in a mode of MLX's, or plain floats (`mode` "dense").

    `multiplier` is per matrix (`weight.shape[:-2]`) or per row (`weight.shape[:-1]`); `input_order` and `input_scale`
    are `[in]`, see `Native`; stacks have neither.
    """

    mode: str
    bits: int
    group_size: int
    weight: mx.array
    scales: mx.array | None = None
    biases: mx.array | None = None
    multiplier: mx.array | None = None
    input_order: mx.array | None = None
    input_scale: mx.array | None = None
    input_rotation: mx.array | int | None = None
    output_rotation: mx.array | int | None = None
    exactness: Exactness = "exact"
    error: float = 0.0

    @property
    def arrays(self) -> list[mx.array]:
        """Every array it holds."""
        every = (self.weight, self.scales, self.biases, self.multiplier, self.input_order, self.input_scale)
        return [a for a in (*every, self.input_rotation, self.output_rotation) if isinstance(a, mx.array)]

    @property
    def per_row(self) -> bool:
        """Whether the multiplier is one number for each row, not for each matrix."""
        return self.multiplier is not None and self.multiplier.ndim == self.weight.ndim - 1

    @property
    def way(self) -> str:
        """In words: "affine 4-bit g128 x channel scale"."""
        size = f" {self.bits}-bit g{self.group_size}" if self.mode == "affine" else ""
        scale = "" if self.multiplier is None else " x channel scale" if self.per_row else " x matrix scale"
        inputs = (" of scaled inputs" if self.input_scale is not None else "") + (
            " of reordered inputs" if self.input_order is not None else ""
        )
        around = " between rotations" if self.rotated else ""
        return f"{self.mode}{size}{scale}{inputs}{around}"

    @property
    def rotated(self) -> bool:
        """Whether activations are turned around the product."""
        return self.input_rotation is not None or self.output_rotation is not None

    def keywords(self) -> dict[str, Any]:
        """What every quantised operation of MLX wants to know besides the arrays."""
        return {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}

    def inputs(self, x: mx.array) -> mx.array:
        """`x [..., in]` as the stored columns want it."""
        x = turn(x, self.input_rotation)
        if self.input_scale is not None:
            x = (x * self.input_scale).astype(x.dtype)
        return x if self.input_order is None else mx.take(x, self.input_order, axis=-1)

    def columns(self, y: mx.array) -> mx.array:
        """`y [..., stored columns]` in the order and scale of the inputs: what `inputs` does, from the other side."""
        if self.input_order is not None:
            y = mx.take(y, mx.argsort(self.input_order), axis=-1)
        y = y if self.input_scale is None else y * self.input_scale
        return turn(y, self.input_rotation, back=True)


def holds(t: PackedTensor) -> bool:
    """Whether MLX may multiply this tensor without decoding it first; `prepare` knows for sure."""
    return t.format.family == "float" or t.format.has_native(t)


def prepare(t: PackedTensor, dtype: mx.Dtype) -> NativeWeight | None:
    """Copy a weight `[..., out, in]` into MLX memory in the mode that holds it, its file pages given back.

    None where no mode of MLX's holds these very values.
    """
    return _prepared([t], dtype, stack=False)


def prepare_stack(tensors: Sequence[PackedTensor], dtype: mx.Dtype) -> NativeWeight | None:
    """A stack of matrices `[out, in]` of one format as `[n, out, in]`; None where no mode of MLX's holds them all.

    Matrices that want their inputs scaled or reordered, each in its own way, make no stack.
    """
    return _prepared(tensors, dtype, stack=True)


def _prepared(tensors: Sequence[PackedTensor], dtype: mx.Dtype, stack: bool) -> NativeWeight | None:
    if all(t.format.family == "float" for t in tensors):
        return NativeWeight("dense", 0, 0, fill_floats(tensors, dtype, stack, to_mx))
    filled = fill(tensors, stack)
    if filled is None:
        return None
    first = filled.first
    placed = NativeWeight(
        first.mode,
        first.bits,
        first.group_size,
        filled.weight,
        *_scales(filled.scales, filled.biases, dtype),
        _optional(filled.multiplier, np.float32),
        _optional(first.input_order, np.int32),
        _optional(first.input_scale, np.float32),
        _rotation(first.input_rotation),
        _rotation(first.output_rotation),
        filled.exactness,
        filled.error,
    )
    mx.eval(placed.arrays)
    return placed


def turn(x: mx.array, rotation: mx.array | int | None, back: bool = False) -> mx.array:
    """Every h values of the last axis times a rotation `[h, h]`, or its transpose; in float32, returned as x is.

    h alone is Sylvester's Hadamard matrix / sqrt(h), its own transpose; of `[blocks, h, h]` each block has its own.
    """
    if rotation is None:
        return x
    size = rotation if isinstance(rotation, int) else rotation.shape[-1]
    blocks = x.astype(mx.float32).reshape(*x.shape[:-1], -1, size)
    if isinstance(rotation, int):
        y = mx.hadamard_transform(blocks)  # scaled by 1 / sqrt(h)
    elif rotation.ndim == 3:
        each = blocks.reshape(-1, *blocks.shape[-2:]).swapaxes(0, 1)
        y = (each @ (rotation.swapaxes(-1, -2) if back else rotation)).swapaxes(0, 1)
    else:
        y = blocks @ (rotation.T if back else rotation)
    return y.reshape(x.shape).astype(x.dtype)


_TURNS: dict[int, tuple[weakref.ref[Array], mx.array]] = {}  # of many layers one matrix: id of numpy's -> MLX's


def _rotation(given: Array | int | None) -> mx.array | int | None:
    if given is None or isinstance(given, int):
        return given
    key = id(given)
    found = _TURNS.get(key)
    if found is None or found[0]() is not given:
        found = weakref.ref(given, lambda _: _TURNS.pop(key, None)), mx.array(given)
        _TURNS[key] = found
    return found[1]


def matmul(x: mx.array, w: NativeWeight, many: PackedTensor | None = None) -> mx.array:
    """`x [..., in] @ w [out, in].T -> [..., out]` in x's dtype."""
    inputs = w.inputs(x)
    y = _product(inputs, w, transpose=True) if many is None else reference.matmul(inputs, many)
    return turn(_scaled(y, w.multiplier, x.dtype), w.output_rotation)


def transposed(x: mx.array, w: NativeWeight, many: PackedTensor | None = None) -> mx.array:
    """`x [..., out] @ w [out, in] -> [..., in]` in x's dtype."""
    x = turn(x, w.output_rotation, back=True)
    inputs = _scaled(x, w.multiplier, x.dtype) if w.per_row else x
    y = _product(inputs, w, transpose=False) if many is None else reference.transposed(inputs, many)
    return _scaled(w.columns(y), None if w.per_row else w.multiplier, x.dtype)


def multi(x: mx.array, w: NativeWeight, transpose: bool, many: Sequence[PackedTensor] | None = None) -> mx.array:
    """Per head: `x [..., heads, m, k]` times `w [heads, out, in]`, transposed or as stored."""
    m = None if w.multiplier is None else w.multiplier[:, None] if w.per_row else w.multiplier[:, None, None]
    x = turn(x, w.input_rotation) if transpose else turn(x, w.output_rotation, back=True)
    inputs = _scaled(x, m, x.dtype) if w.per_row and not transpose else x
    y = _product(inputs, w, transpose) if many is None else reference.multi(inputs, many, transpose)
    y = _scaled(y, None if inputs is not x else m, x.dtype)
    return turn(y, w.output_rotation) if transpose else turn(y, w.input_rotation, back=True)


def embedding(ids: mx.array, w: NativeWeight, dtype: mx.Dtype) -> mx.array:
    """Rows `ids` of `w [rows, in]` as `[*ids.shape, in]`."""
    if w.mode == "dense":
        return w.weight[ids].astype(dtype)
    assert w.scales is not None
    if w.output_rotation is not None:  # a row is made of all rows of its block
        size = w.output_rotation if isinstance(w.output_rotation, int) else w.output_rotation.shape[0]
        near = (ids // size * size)[..., None] + mx.arange(size)
        block = embedding(near, replace(w, output_rotation=None), mx.float32).swapaxes(-1, -2)
        found = turn(block, w.output_rotation).swapaxes(-1, -2)
        return mx.take_along_axis(found, (ids % size)[..., None, None], axis=-2)[..., 0, :].astype(dtype)
    kind = _row_dtype(w, dtype)
    scales = w.scales[ids] if w.biases is None else w.scales[ids].astype(kind)  # MLX computes in the scales' dtype
    biases = None if w.biases is None else w.biases[ids].astype(kind)
    rows = mx.dequantize(w.weight[ids], scales, biases, **w.keywords(), dtype=kind)
    multiplier = w.multiplier[ids][..., None] if w.per_row and w.multiplier is not None else w.multiplier
    return _scaled(w.columns(rows), multiplier, dtype)


def gather(
    x: mx.array,
    w: NativeWeight,
    indices: mx.array,
    in_order: bool,
    transpose: bool = True,
    many: Sequence[PackedTensor] | None = None,
) -> mx.array:
    """Each `x [*batch, m, in]` times the expert its index names, transposed -> `[*indices.shape, m, out]`.

    Without `transpose` as stored: `[*batch, m, out] -> [*indices.shape, m, in]`.
    """
    m = None if w.multiplier is None else w.multiplier[indices]
    dtype = x.dtype
    if m is not None:
        m = m[..., None, :] if w.per_row else m[..., None, None]
    x = turn(x, w.input_rotation) if transpose else turn(x, w.output_rotation, back=True)
    if w.per_row and not transpose:
        x, m = _scaled(x, m, dtype), None
    if many is not None:
        y = reference.gather(x, many, indices, in_order, transpose)
    elif w.mode == "dense":
        weight = w.weight.swapaxes(-1, -2) if transpose else w.weight
        y = mx.gather_mm(x, weight, rhs_indices=indices, sorted_indices=in_order)
    else:
        assert w.scales is not None
        y = mx.gather_qmm(
            x,
            w.weight,
            w.scales,
            w.biases,
            rhs_indices=indices,
            transpose=transpose,
            sorted_indices=in_order,
            **w.keywords(),
        )
    y = _scaled(y, m, dtype)
    return turn(y, w.output_rotation) if transpose else turn(y, w.input_rotation, back=True)


def _product(x: mx.array, w: NativeWeight, transpose: bool) -> mx.array:
    if w.mode == "dense":
        return x @ (w.weight.swapaxes(-1, -2) if transpose else w.weight)
    assert w.scales is not None
    y: mx.array = mx.quantized_matmul(x, w.weight, w.scales, w.biases, transpose=transpose, **w.keywords())
    return y


def _scaled(y: mx.array, multiplier: mx.array | None, dtype: mx.Dtype) -> mx.array:
    return (y if multiplier is None else y * multiplier).astype(dtype)


def _row_dtype(w: NativeWeight, dtype: mx.Dtype) -> mx.Dtype:
    """Decode in float32 where more arithmetic follows or the scales ask for it, else straight into `dtype`."""
    more = w.multiplier is not None or w.input_scale is not None or w.biases is not None
    return mx.float32 if more else dtype


def _optional(a: Array | None, dtype: Any) -> mx.array | None:
    return None if a is None else mx.array(np.asarray(a, dtype))


def _scales(scales: Array, biases: Array | None, dtype: mx.Dtype) -> tuple[mx.array, mx.array | None]:
    """Scales and biases: integer codes as they are, floats in the activations' dtype where that loses nothing."""
    if scales.dtype == np.uint8:  # the fp modes: e8m0 or e4m3 bytes
        return to_mx(scales), None
    floats = [to_mx(a) for a in (scales, biases) if a is not None]
    if dtype == mx.float32:
        return floats[0], floats[1] if len(floats) > 1 else None
    cast = [a.astype(dtype) for a in floats]
    exact = all(
        mx.array_equal(a.astype(mx.float32), c.astype(mx.float32)).item() for a, c in zip(floats, cast, strict=True)
    )
    kept = cast if exact else [a.astype(mx.float32) for a in floats]
    return kept[0], kept[1] if len(kept) > 1 else None


def views(w: NativeWeight, shape: tuple[int, ...]) -> PackedTensor | None:
    """The matrices alone (no multiplier, no inputs' order) in the format MLX defines, for the reference.

    Its parts look into MLX's memory. None for dense weights.
    """
    form = find(f"affine_{w.bits}bit_g{w.group_size}" if w.mode == "affine" else w.mode)
    if form is None:
        return None
    arrays = {"weight": w.weight, "scales": w.scales, "biases": w.biases}
    return PackedTensor(form, shape, {n: _to_numpy(a) for n, a in arrays.items() if a is not None})


def _to_numpy(a: mx.array) -> Array:
    if a.dtype != mx.bfloat16:
        return np.asarray(a)
    return np.asarray(a.view(mx.uint16)).view(ml_dtypes.bfloat16)


def to_mx(a: Array) -> mx.array:
    """A numpy array in MLX memory with its dtype kept; ml_dtypes' bfloat16 travels as its bits."""
    a = np.ascontiguousarray(a)
    if a.dtype.name == "bfloat16":
        return mx.array(a.view(np.uint16)).view(mx.bfloat16)
    return mx.array(a)
