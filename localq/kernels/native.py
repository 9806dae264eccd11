"""MLX's own quantised kernels (affine, mxfp4, mxfp8, nvfp4) and, for float formats on a GPU, its plain matmul.

`Format.to_native` says how a tensor is written in a mode of MLX's. Two traps are handled here. Scales of another
dtype than half-precision activations make MLX return float32 and cast on every call: they are cast once, where the
cast loses nothing, and become float32 otherwise. (For float32 activations they stay 16-bit as stored: the result is
float32 either way, and wider ones would add a tenth to a 4-bit model.) And nvfp4's second, per-tensor scale has no
place in `quantized_matmul`: it multiplies the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from localq.formats.base import Format, Native, PackedTensor
from localq.kernels.residency import release

NAME = "native"
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class NativeWeight:
    """A weight in MLX memory: `[..., out, in]` in a mode of MLX's, or plain floats (`mode` "dense")."""

    mode: str
    bits: int
    group_size: int
    weight: mx.array
    scales: mx.array | None = None
    biases: mx.array | None = None
    multiplier: mx.array | None = None  # per matrix: () or [n]

    @property
    def arrays(self) -> list[mx.array]:
        """Every array it holds."""
        return [a for a in (self.weight, self.scales, self.biases, self.multiplier) if a is not None]

    def keywords(self) -> dict[str, Any]:
        """What every quantised operation of MLX wants to know besides the arrays."""
        return {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}


def holds(t: PackedTensor) -> bool:
    """Whether MLX can multiply this tensor without decoding it first."""
    return t.format.family == "float" or t.format.to_native(t) is not None


def prepare(t: PackedTensor, dtype: mx.Dtype) -> NativeWeight:
    """Copy a weight `[..., out, in]` into MLX memory in the mode that holds it, its file pages given back."""
    placed = _dense(t, dtype) if t.format.family == "float" else _quantised(t, dtype)
    mx.eval(placed.arrays)
    for part in t.parts.values():
        release(part)
    return placed


def prepare_stack(tensors: Sequence[PackedTensor], dtype: mx.Dtype) -> NativeWeight:
    """A stack of matrices `[out, in]` of one format as `[n, out, in]`."""
    each = [prepare(t, dtype) for t in tensors]

    def stacked(field: str) -> mx.array | None:
        arrays = [getattr(weight, field) for weight in each]
        if all(a is None for a in arrays):
            return None
        return mx.stack([mx.array(1.0) if a is None else a for a in arrays])

    first = each[0]
    weight = stacked("weight")
    assert weight is not None
    stack = NativeWeight(
        first.mode, first.bits, first.group_size, weight, stacked("scales"), stacked("biases"), stacked("multiplier")
    )
    mx.eval(stack.arrays)
    return stack


def matmul(x: mx.array, w: NativeWeight) -> mx.array:
    """`x [..., in] @ w [out, in].T -> [..., out]` in x's dtype."""
    return _product(x, w, transpose=True)


def transposed(x: mx.array, w: NativeWeight) -> mx.array:
    """`x [..., out] @ w [out, in] -> [..., in]` in x's dtype."""
    return _product(x, w, transpose=False)


def multi(x: mx.array, w: NativeWeight, transpose: bool) -> mx.array:
    """Per head: `x [..., heads, m, k]` times `w [heads, out, in]`, transposed or as stored."""
    return _product(x, w, transpose)


def embedding(ids: mx.array, w: NativeWeight, dtype: mx.Dtype) -> mx.array:
    """Rows `ids` of `w [rows, in]` as `[*ids.shape, in]`."""
    if w.mode == "dense":
        return w.weight[ids].astype(dtype)
    biases = None if w.biases is None else w.biases[ids]
    assert w.scales is not None
    rows = mx.dequantize(w.weight[ids], w.scales[ids], biases, **w.keywords(), dtype=_row_dtype(w, dtype))
    return (rows if w.multiplier is None else rows * w.multiplier).astype(dtype)


def gather(x: mx.array, w: NativeWeight, indices: mx.array, in_order: bool) -> mx.array:
    """Each `x [*batch, m, in]` times the expert its index names -> `[*indices.shape, m, out]`."""
    if w.mode == "dense":
        return mx.gather_mm(x, w.weight.swapaxes(-1, -2), rhs_indices=indices, sorted_indices=in_order)
    assert w.scales is not None
    y = mx.gather_qmm(
        x, w.weight, w.scales, w.biases, rhs_indices=indices, transpose=True, sorted_indices=in_order, **w.keywords()
    )
    if w.multiplier is not None:
        y = y * w.multiplier[indices][..., None, None]
    return y.astype(x.dtype)


def _product(x: mx.array, w: NativeWeight, transpose: bool) -> mx.array:
    if w.mode == "dense":
        return x @ (w.weight.swapaxes(-1, -2) if transpose else w.weight)
    assert w.scales is not None
    y = mx.quantized_matmul(x, w.weight, w.scales, w.biases, transpose=transpose, **w.keywords())
    if w.multiplier is not None:
        y = y * (w.multiplier if w.multiplier.ndim == 0 else w.multiplier[:, None, None])
    return y.astype(x.dtype)


def _row_dtype(w: NativeWeight, dtype: mx.Dtype) -> mx.Dtype:
    """Decode in float32 where more arithmetic follows or the scales ask for it, else straight into `dtype`."""
    return mx.float32 if w.multiplier is not None or w.biases is not None else dtype


def _dense(t: PackedTensor, dtype: mx.Dtype) -> NativeWeight:
    return NativeWeight("dense", 0, 0, to_mx(t.parts["weight"]).astype(dtype))


def _quantised(t: PackedTensor, dtype: mx.Dtype) -> NativeWeight:
    native = t.format.to_native(t)
    assert native is not None, "the registry asks holds() first"
    return NativeWeight(
        native.mode,
        native.bits,
        native.group_size,
        to_mx(native.weight),
        *_scales(native, dtype),
        None if native.multiplier is None else mx.array(np.asarray(native.multiplier, np.float32)),
    )


def _scales(native: Native, dtype: mx.Dtype) -> tuple[mx.array, mx.array | None]:
    """Scales and biases: integer codes as they are, floats in the activations' dtype where that loses nothing."""
    if native.scales.dtype == np.uint8:  # the fp modes: e8m0 or e4m3 bytes
        return to_mx(native.scales), None
    floats = [to_mx(a) for a in (native.scales, native.biases) if a is not None]
    if dtype == mx.float32:
        return floats[0], floats[1] if len(floats) > 1 else None
    cast = [a.astype(dtype) for a in floats]
    exact = all(
        mx.array_equal(a.astype(mx.float32), c.astype(mx.float32)).item() for a, c in zip(floats, cast, strict=True)
    )
    kept = cast if exact else [a.astype(mx.float32) for a in floats]
    return kept[0], kept[1] if len(kept) > 1 else None


def views(fmt: type[Format], w: NativeWeight, shape: tuple[int, ...]) -> PackedTensor | None:
    """The same tensor with its parts looking into MLX's memory, for the reference; None where a part was changed.

    Only the formats MLX defines keep their parts as they are stored.
    """
    if fmt.family != "mlx" or w.multiplier is not None:
        return None
    arrays = {"weight": w.weight, "scales": w.scales, "biases": w.biases}
    return PackedTensor(fmt, shape, {n: _to_numpy(a) for n, a in arrays.items() if a is not None})


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
