"""The layers that hold packed weights, in place of MLX's Linear, Embedding, SwitchLinear and MultiLinear.

They keep no `weight`, `bits` or `group_size`: mlx-lm takes whatever has those for its own. Packed parts are no MLX
parameters either, so freezing, casting and evaluating a model's parameters leave them alone; biases stay dense.
One layer may hold several pieces of different formats (rows of one matrix, or experts of one stack).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module

from localq.errors import LocalqError
from localq.formats.base import PackedTensor
from localq.kernels import registry

_HEADS = ContextVar("heads", default=True)


@contextlib.contextmanager
def without_heads() -> Iterator[None]:
    """Inside, output heads give zeros: nobody reads a prefill's logits, but the reference kernels are not lazy."""
    token = _HEADS.set(False)
    try:
        yield
    finally:
        _HEADS.reset(token)


class _Layer(Module):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # mlx leaves its base class untyped


class _Rows:
    """A matrix `[out, in]` as consecutive pieces `[out_i, in]`, each in a format of its own."""

    def __init__(self, pieces: Sequence[PackedTensor], dtype: mx.Dtype) -> None:
        widths = {p.shape[-1] for p in pieces}
        if len(widths) != 1:
            raise LocalqError(f"The pieces of one matrix have different in_features: {sorted(widths)}.")
        self.placed = [registry.place(p, dtype) for p in pieces]
        self.shape = (sum(p.shape[0] for p in self.placed), self.placed[0].shape[1])
        self.nbytes = sum(p.nbytes for p in self.placed)
        self.formats = "+".join(dict.fromkeys(p.format for p in self.placed))

    def matmul(self, x: mx.array, training: bool) -> mx.array:
        if len(self.placed) == 1:
            return self.placed[0].matmul(x, training)
        return mx.concatenate([p.matmul(x, training) for p in self.placed], axis=-1)


class PackedLinear(_Layer):
    """`y = x @ W.T + bias` with W `[out, in]` packed; `is_head` marks the one that makes the logits.

    `swapped` says that W is stored as `[in, out]` (the Conv1D layers of GPT-2), in one piece.
    """

    def __init__(
        self,
        pieces: Sequence[PackedTensor],
        dtype: mx.Dtype,
        bias: mx.array | None = None,
        *,
        is_head: bool = False,
        swapped: bool = False,
    ) -> None:
        super().__init__()
        self.is_head = is_head
        self.swapped = swapped
        self.rows = _Rows(pieces, dtype)
        self.shared: Any = None  # (group, place in it) of projections that share a launch: models/shared.py
        if bias is not None:
            self.bias = bias

    @property
    def placed(self) -> list[registry.Placed]:
        """The packed weights of this layer."""
        return self.rows.placed

    def _extra_repr(self) -> str:
        out_features, in_features = self.rows.shape
        return f"in_features={in_features}, out_features={out_features}, format={self.rows.formats}"

    def __call__(self, x: mx.array) -> mx.array:
        if self.is_head and not _HEADS.get():
            return mx.zeros((*x.shape[:-1], self.rows.shape[int(self.swapped)]), x.dtype)
        y = None if self.shared is None or self.training else self.shared[0].take(self.shared[1], x)
        if y is None:
            y = self.rows.placed[0].transposed(x, self.training) if self.swapped else self.rows.matmul(x, self.training)
        return y + self["bias"] if "bias" in self else y


class PackedEmbedding(_Layer):
    """Rows of a packed `[vocabulary, dims]` table, decoded as they are asked for; also the tied output head."""

    def __init__(self, table: PackedTensor, dtype: mx.Dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.table = registry.place(table, dtype)

    @property
    def placed(self) -> list[registry.Placed]:
        """The packed weights of this layer."""
        return [self.table]

    def _extra_repr(self) -> str:
        rows, dims = self.table.shape
        return f"rows={rows}, dims={dims}, format={self.table.format}"

    def __call__(self, ids: mx.array) -> mx.array:
        return self.table.embedding(ids, self.dtype)

    def as_linear(self, x: mx.array) -> mx.array:
        """`x [..., dims] -> [..., vocabulary]`: the table as the matrix of an output head."""
        if not _HEADS.get():
            return mx.zeros((*x.shape[:-1], self.table.shape[0]), x.dtype)
        return self.table.matmul(x, self.training)


class PackedSwitchLinear(_Layer):
    """Experts `[n, out, in]`, each packed in a format of its own; `indices` say which one each row of x meets.

    `swapped` says that they are stored as `[n, in, out]` (Llama 4, Qwen3-VL-MoE).
    """

    def __init__(
        self,
        experts: Sequence[PackedTensor],
        dtype: mx.Dtype,
        bias: mx.array | None = None,
        swapped: bool = False,
    ) -> None:
        super().__init__()
        self.swapped = swapped
        self.experts = registry.place_stack(experts, dtype)
        if bias is not None:
            self.bias = bias  # [n, out]

    @property
    def placed(self) -> list[registry.PlacedStack]:
        """The packed weights of this layer."""
        return [self.experts]

    def _extra_repr(self) -> str:
        shape = (self.num_experts, self.output_dims, self.input_dims)
        return f"experts, out_features, in_features={shape}, format={self.experts.format}"

    @property
    def input_dims(self) -> int:
        """in_features of every expert."""
        return self.experts.shape[1 if self.swapped else 2]

    @property
    def output_dims(self) -> int:
        """out_features of every expert."""
        return self.experts.shape[2 if self.swapped else 1]

    @property
    def num_experts(self) -> int:
        """Number of experts."""
        return self.experts.shape[0]

    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        y = self.experts.gather(x, indices, sorted_indices, not self.swapped, self.training)
        return y + mx.expand_dims(self["bias"][indices], -2) if "bias" in self else y


class PackedMultiLinear(_Layer):
    """One matrix per head `[heads, out, in]`, multiplied both ways (multi-head latent attention).

    `swapped` says that the matrices are stored the other way round, `[heads, in, out]`: mlx-lm transposes half of
    `kv_b_proj` while loading, which a packed tensor cannot follow, so the product is turned round instead.
    """

    def __init__(self, heads: Sequence[PackedTensor], dtype: mx.Dtype, swapped: bool = False) -> None:
        super().__init__()
        self.heads = registry.place_stack(heads, dtype)
        self.swapped = swapped

    @property
    def placed(self) -> list[registry.PlacedStack]:
        """The packed weights of this layer."""
        return [self.heads]

    def _extra_repr(self) -> str:
        return f"heads={self.heads.shape}, swapped={self.swapped}, format={self.heads.format}"

    def __call__(self, x: mx.array, transpose: bool = True) -> mx.array:
        return self.heads.multi(x, transpose != self.swapped, self.training)
