"""What MLX itself decodes of a tensor's native form, and a check of row access against the decoded whole."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from localq.formats.base import PackedTensor
from localq.kernels import native


def decoded_by_mlx(t: PackedTensor) -> np.ndarray | None:
    """The effective weights [out, in] as float32 by MLX's own decoder, scales and biases in float32; None if none."""
    held = t.format.to_native(t)
    if held is None:
        return None
    floats = [None if a is None else native.to_mx(a) for a in (held.scales, held.biases)]
    if held.scales.dtype != np.uint8:
        floats = [None if a is None else a.astype(mx.float32) for a in floats]
    w = np.array(
        mx.dequantize(
            native.to_mx(held.weight),
            *floats,
            group_size=held.group_size,
            bits=held.bits,
            mode=held.mode,
            dtype=mx.float32,
        )
    )
    if held.multiplier is not None:
        w = w * (held.multiplier if np.ndim(held.multiplier) == 0 else held.multiplier[:, None])
    if held.input_order is not None:
        back = np.empty_like(w)
        back[:, held.input_order] = w
        w = back
    return w if held.input_scale is None else w * held.input_scale


def assert_rows(t: PackedTensor) -> None:
    """Slices, steps and lists of rows, and rows joined again, are rows of the whole."""
    whole, out = t.dequantize(), t.shape[0]
    for index in (slice(0, 8), slice(3, 17), slice(None, None, 2), slice(out - 5, out), slice(out // 2, out)):
        np.testing.assert_array_equal(t.rows(index).dequantize(), whole[index])
    for chosen in (np.array([out - 1, 0, 5, 5]), np.arange(out)[::-1]):
        np.testing.assert_array_equal(t.rows(chosen).dequantize(), whole[chosen])
    joined = t.format.join_rows([t, t])
    assert joined is not None and joined.shape == (2 * out, t.shape[1])
    np.testing.assert_array_equal(joined.dequantize(), np.concatenate([whole, whole]))
