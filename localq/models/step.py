"""A decoder layer for the few tokens of a decode step, in as few launches as its packed weights allow.

The layer stays mlx-lm's: its modules hold the weights and compute whatever part is not fused here, because its format
has no kernel of localq's, differs from its neighbour's, or its rotation is of another kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from localq.kernels import costs, own, product, tuning
from localq.models.angles import Angles
from localq.models.pairs import paired, parts
from localq_metal.fused import Around, Experts, Norm, Turn, fused
from localq_metal.norm_add import norm_add
from localq_metal.qmv import BATCHES
from localq_metal.route import route
from localq_metal.source import Packed
from localq_metal.turned import turned


@dataclass(frozen=True, eq=False)
class Heads:
    """Queries, keys and values: matrices that share a launch, in order, and what happens to their heads."""

    groups: list[list[Packed]]
    norm: Norm  # of what they multiply
    angles: Angles
    each: Norm | mx.array | None = None  # of heads: the gain of queries, then that of keys; or the biases of all

    @property
    def joined(self) -> bool:
        """Whether keys and values come in one piece."""
        return self.each is not None or len(self.groups[-1]) > 1


@dataclass(frozen=True, eq=False)
class Mixture:
    """Experts: gate and up, down, stacks of matrices; `chosen` of them for a token."""

    gate: Packed
    up: Packed
    down: Packed
    chosen: int
    shared: bool  # whether the scores of those chosen add up to one


@dataclass(frozen=True, eq=False)
class Step:
    """The parts of a layer that are fused; None is left to the layer's own modules.

    `after` are the norms of what attention and feed-forward add, where the architecture has such.
    """

    act: str
    heads: Heads | None = None
    out: Packed | None = None
    glu: list[Packed] | None = None
    glu_norm: Norm | None = None
    down: Packed | None = None
    mixture: Mixture | None = None
    after: tuple[Norm, Norm] | None = None
    modules: tuple[Any, ...] = ()  # the layer's own, whose weights these are, see `modules`

    def intact(self, layer: Any) -> bool:
        """Whether the layer still is what it was fused from: adapters put other modules, or other gains, in place."""
        found = modules(layer)
        return len(found) == len(self.modules) and all(a is b for a, b in zip(found, self.modules, strict=True))

    def __call__(self, layer: Any, x: mx.array, mask: Any, cache: Any) -> mx.array:
        """`layer(x, mask, cache)` for `x [batch, length, width]`."""
        rows = x.reshape(-1, x.shape[-1])
        if self.heads is None:
            attended, projected = None, layer.self_attn(layer.input_layernorm(x), mask, cache).reshape(rows.shape)
        else:
            attended, projected = self._attended(self.heads, layer.self_attn, x, mask, cache), None
        after = self.after or (None, None)
        h = self._added(self.out, layer.self_attn.o_proj, (attended, projected), rows, after[0])
        inner = self._inner(layer, h)
        if inner is None and self.mixture is not None:
            return self._mixed(self.mixture, layer, h).reshape(x.shape)
        norm = layer.pre_feedforward_layernorm if self.after else layer.post_attention_layernorm
        whole = None if inner is not None else layer.mlp(norm(h.reshape(x.shape))).reshape(rows.shape)
        down = None if inner is None else layer.mlp.down_proj
        return self._added(self.down, down, (inner, whole), h, after[1]).reshape(x.shape)

    def _attended(self, heads: Heads, attention: Any, x: mx.array, mask: Any, cache: Any) -> mx.array:
        """What the output projection multiplies: `[batch * length, heads * head]`."""
        from mlx_lm.models.base import scaled_dot_product_attention

        (batch, length, _), head = x.shape, heads.angles.head
        many, few = attention.n_heads, attention.n_kv_heads
        table = heads.angles.table(0 if cache is None else cache.offset, batch, length)
        q, *kv = self._projected(heads, x.reshape(batch * length, -1), (many, few), table)
        q = q.reshape(batch, length, many, head).transpose(0, 2, 1, 3)
        if len(kv) == 1:
            both = kv[0].reshape(batch, length, 2, few, head).transpose(2, 0, 3, 1, 4)
            k, v = cache.update_pair(both) if isinstance(cache, paired()) else parts(both)
        else:
            k, v = (a.reshape(batch, length, few, head).transpose(0, 2, 1, 3) for a in kv)
        if cache is not None and not (len(kv) == 1 and isinstance(cache, paired())):
            k, v = cache.update_and_fetch(k, v)
        y = scaled_dot_product_attention(q, k, v, cache=cache, scale=attention.scale, mask=mask)
        return y.transpose(0, 2, 1, 3).reshape(batch * length, -1)

    def _projected(self, heads: Heads, x: mx.array, counts: tuple[int, int], table: mx.array) -> list[mx.array]:
        """Queries, keys and values `[m, heads * head]`, the first two rotated, the last two in one array if joined."""
        head, (many, few) = heads.angles.head, counts
        found: list[mx.array] = []
        for each in heads.groups:
            turns = sum(p.shape[0] for p in each[: 2 - len(found)]) if heads.each is None and len(found) < 2 else 0
            turn = Turn(table, turns, head) if turns else None
            y = multiplied(each, x, Around(norm=heads.norm, turn=turn))
            if heads.each is None and len(found) + len(each) == 3 and heads.joined:
                return [*found, *(mx.split(y, [many * head], axis=-1) if not found else [y])]
            ends = [sum(p.shape[0] for p in each[: i + 1]) for i in range(len(each) - 1)]
            found += mx.split(y, ends, axis=-1) if ends else [y]
        if heads.each is None:
            return found
        q, k, v = (a.reshape(len(x), n, head) for a, n in zip(found, (many, few, few), strict=True))
        every = turned(own.factory(), (q, k, v), heads.each, table)
        return [every[:, :many], every[:, many:]]

    def _added(self, packed: Packed | None, module: Any, given: Any, more: mx.array, norm: Norm | None) -> mx.array:
        """`more` and the projection of `given[0]`, or what is `given[1]` already; this normed first, given a `norm`."""
        x, y = given
        if packed is not None and x is not None:
            if norm is None:
                return multiplied([packed], x, Around(more=more))
            y = multiplied([packed], x, Around())
        elif y is None:
            y = module(x)
        return more + y if norm is None else norm_add(own.factory(), y, more, norm)

    def _inner(self, layer: Any, h: mx.array) -> mx.array | None:
        """The activations between a dense feed-forward's projections; None where they are not computed here."""
        if self.glu is None or self.glu_norm is None:
            return None
        return multiplied(self.glu, h, Around(norm=self.glu_norm, act=self.act))

    def _mixed(self, mixture: Mixture, layer: Any, h: mx.array) -> mx.array:
        x = layer.post_attention_layernorm(h)
        scores, named = route(own.factory(), layer.mlp.gate(x), mixture.chosen, mixture.shared)
        experts = Experts(named, mixture.chosen)
        inner = multiplied([mixture.gate, mixture.up], x, Around(act=self.act, experts=experts))
        return multiplied([mixture.down], inner, Around(more=h, experts=Experts(named, mixture.chosen, scores)))

    def serves(self, tokens: int) -> bool:
        """Whether so many rows are few enough: for more, each product has a better way of its own."""
        if tokens == 1:
            return True
        dense = [p for p in (self.out, self.down, *(self.glu or ())) if p is not None]
        dense += [p for each in (self.heads.groups if self.heads else ()) for p in each]
        few = all(costs.matrix(tokens, product.bits(p), 2, tuning.balance()) == "few" for p in dense)
        if self.mixture is None or not few:
            return few and tokens <= BATCHES[-1]
        m = self.mixture
        ways = (
            costs.experts(tokens * m.chosen, p.shape[0], product.bits(p), 2, tuning.balance()) for p in (m.up, m.down)
        )
        return tokens <= BATCHES[-1] and all(way == "each" for way in ways)


def modules(layer: Any) -> tuple[Any, ...]:
    """The modules of a layer that hold what a step multiplies, and the gains of its norms."""
    attention, mlp = layer["self_attn"], layer["mlp"]
    inner = mlp.get("switch_mlp", mlp)
    first = tuple(attention.get(name) for name in ("q_proj", "k_proj", "v_proj", "o_proj", "rope"))
    gains = tuple(module.weight for part in (layer, attention) for name, module in part.items() if "norm" in name)
    biases = tuple(module["bias"] for module in first if module is not None and "bias" in module)
    return (*first, *biases, *(inner.get(name) for name in ("gate_proj", "up_proj", "down_proj")), *gains)


def multiplied(each: list[Packed], x: mx.array, around: Around) -> mx.array:
    """`fused`, the norm in a launch of its own where that costs less."""
    shape, norm = tuning.shape(each[0].stem), around.norm
    if norm is not None and x.shape[0] == 1:
        weights = sum(p.size for p in each)
        if not costs.prologue(shape.rows, weights, product.bits(each[0]), tuning.balance()):
            x = mx.fast.rms_norm(x, norm.gain, norm.eps)
            around = Around(None, around.act, around.more, around.turn, around.experts)
    return fused(own.factory(), each, x, around, shape)
