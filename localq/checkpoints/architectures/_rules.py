"""Value rules: what llama.cpp's converter does to a tensor, undone on access without decoding where rows allow it.

numpy is imported only when a rule is applied, never while a file is mapped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys
    from localq.formats.base import PackedTensor

    Change = Callable[[PackedTensor], PackedTensor]


def take(t: PackedTensor, index: Any, axis: int | None = None) -> PackedTensor:
    """Rows `index` of a matrix or stack; of a bias (1-D, or `axis` the last) its elements."""
    if len(t.shape) > 1 and axis != len(t.shape) - 1:
        return t.rows(index)
    from localq.formats.base import PackedTensor

    if t.format.block_size != 1:
        raise CheckpointError(f"A bias of shape {t.shape} is packed as {t.format.name}; expected a float type.")
    parts = {name: part[..., index] for name, part in t.parts.items()}
    return PackedTensor(t.format, tuple(next(iter(parts.values())).shape), parts)


def query_rows(keys: ModelKeys, shape: tuple[int, ...]) -> Change:
    """Undo the row order of the llama family's queries (`LlamaModel.permute`, conversion/llama.py)."""
    return unpermuted(shape, keys.heads)


def key_rows(keys: ModelKeys, shape: tuple[int, ...]) -> Change:
    """Undo the row order of the llama family's keys."""
    return unpermuted(shape, keys.kv_heads)


def unpermuted(shape: tuple[int, ...], heads: int) -> Change:
    """HF keeps a head's rows as two halves, GGUF interleaves the halves: row 2j+h of GGUF is row h*d/2+j of HF."""
    rows = shape[max(len(shape) - 2, 0)] if shape else 0
    if rows % (2 * heads):
        raise CheckpointError(f"A query or key tensor has {rows} rows, no multiple of 2 x {heads} heads.")

    def change(t: PackedTensor) -> PackedTensor:
        import numpy as np

        stored = np.arange(rows).reshape(heads, rows // heads // 2, 2)
        return take(t, stored.swapaxes(1, 2).reshape(-1))

    return change


def minus_one(keys: ModelKeys, shape: tuple[int, ...]) -> Change:
    """Undo the `+ 1` of Gemma's norms: float32 in, float32 out (exact wherever the sum was)."""

    def change(t: PackedTensor) -> PackedTensor:
        import numpy as np

        from localq.formats import FORMATS
        from localq.formats.base import PackedTensor

        values = t.dequantize() - np.float32(1)
        (part,) = FORMATS["f32"].layout(t.shape)
        return PackedTensor(FORMATS["f32"], t.shape, {part: values})

    return change
