"""Decoder layers whose decode step is fused (`step.Step`): which, and that they agree with mlx-lm's own.

A layer of a declared class gets a subclass that computes few tokens its own way and everything else, prompts and
training too, as mlx-lm does; its modules and parameters stay what they are. The first layer of each kind is computed
both ways; on a difference, or where a kernel does not run, mlx-lm's way stays, with one warning.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.nn.layers.base import Module

from localq.kernels import own, registry
from localq.models.angles import angles
from localq.models.linear import PackedSwitchLinear
from localq.models.pairs import pair_caches, paired
from localq.models.shared import packed
from localq.models.step import Heads, Mixture, Step, modules
from localq_metal.fused import Norm
from localq_metal.route import MOST_CHOSEN, MOST_EXPERTS
from localq_metal.several import fits
from localq_metal.source import Packed


@dataclass(frozen=True)
class Kind:
    """A decoder layer of mlx-lm's: classes of it, its attention and its feed-forwards, and what it computes."""

    layer: str
    feed_forwards: tuple[str, ...]
    act: str = "silu"
    shifted: bool = False  # norms multiply by 1 + weight
    after: bool = False  # what attention and feed-forward give is normed, then added
    normed: bool = False  # queries and keys are normed, head by head


KINDS = {  # by the module of mlx_lm.models
    "llama": Kind("TransformerBlock", ("MLP",)),
    "qwen2": Kind("TransformerBlock", ("MLP",)),
    "qwen3": Kind("TransformerBlock", ("MLP",), normed=True),
    "qwen3_moe": Kind("Qwen3MoeDecoderLayer", ("MLP", "Qwen3MoeSparseMoeBlock"), normed=True),
    "gemma3_text": Kind("TransformerBlock", ("MLP",), "gelu", shifted=True, after=True, normed=True),
}
_VERDICTS: dict[tuple[Any, ...], bool] = {}


def fuse(model: Module) -> int:
    """Fuse the decode step of every layer of a loaded model that can be; how many there are."""
    if registry.device() == "cpu":
        return 0
    count = 0
    for _, module in list(model.named_modules()):
        kind = _kind(module)
        step = None if kind is None else _step(module, kind)
        if kind is None or step is None or not _agrees(module, step):
            continue
        module.step = step
        made: Any = type(module)
        module.__class__ = _subclass(made)
        count += 1
    if count and hasattr(model, "layers"):
        pair_caches(model)
    return count


def _kind(module: Module) -> Kind | None:
    """What is declared of exactly this class, made of exactly these parts."""
    home, _, name = type(module).__module__.rpartition(".")
    kind = KINDS.get(name) if home == "mlx_lm.models" else None
    if kind is None or type(module).__name__ != kind.layer:
        return None
    attention, feed_forward = (type(module.get(part)) for part in ("self_attn", "mlp"))
    theirs = import_module(type(module).__module__)
    known = attention is theirs.Attention and feed_forward in [getattr(theirs, n) for n in kind.feed_forwards]
    return kind if known else None


@cache
def _subclass(layer: Any) -> Any:
    class Fused(layer):  # type: ignore[misc]
        """Few tokens in few launches, everything else as the class does that it comes from."""

        def __call__(self, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
            known = cache is None or isinstance(cache.offset, int)  # batches of different lengths have one each
            few = known and not self.training and self.step.serves(x.size // x.shape[-1])
            if not few or not self.step.intact(self):
                y: mx.array = super().__call__(x, mask, cache)
            else:
                y = self.step(self, x, mask, cache)
            return y

    Fused.__name__ = Fused.__qualname__ = f"Fused{layer.__name__}"
    return Fused


def _step(layer: Any, kind: Kind) -> Step | None:
    attention, mlp = layer.self_attn, layer.mlp
    before = layer.pre_feedforward_layernorm if kind.after else layer.post_attention_layernorm
    after = (layer.post_attention_layernorm, layer.post_feedforward_layernorm) if kind.after else ()
    parts: dict[str, Any] = {"heads": _heads(layer, kind), "out": _plain(attention.o_proj)}
    if "switch_mlp" in mlp:
        parts["mixture"] = _mixture(mlp)
    else:
        glu = [p for p in (_plain(mlp.gate_proj), _plain(mlp.up_proj)) if p is not None]
        if len(glu) == 2 and fits(glu):
            parts |= {"glu": glu, "glu_norm": _norm(before, kind)}
        parts["down"] = _plain(mlp.down_proj)
    if not any(part is not None for part in parts.values()):
        return None
    norms = (_norm(after[0], kind), _norm(after[1], kind)) if after else None
    return Step(kind.act, **parts, after=norms, modules=modules(layer))


def _heads(layer: Any, kind: Kind) -> Heads | None:
    attention = layer.self_attn
    layers = [attention[name] for name in ("q_proj", "k_proj", "v_proj")]
    held = [p for p in map(packed, layers) if p is not None]
    biases = [one["bias"] for one in layers if "bias" in one]
    if len(held) < len(layers) or len(biases) not in (0, len(layers)) or (biases and kind.normed):
        return None
    turn = angles(attention.rope, held[0].shape[0] // attention.n_heads)
    if turn is None:
        return None
    first: Norm | mx.array | None = None
    if biases:
        first = mx.concatenate(biases)
        mx.eval(first)
    if kind.normed:
        q, k = _norm(attention.q_norm, kind), _norm(attention.k_norm, kind)
        first = Norm(mx.concatenate([q.gain, k.gain]), q.eps)
        mx.eval(first.gain)
        if q.eps != k.eps:
            return None
    groups: list[list[Packed]] = []
    for p in held:
        if groups and fits([*groups[-1], p]):
            groups[-1].append(p)
        else:
            groups.append([p])
    return Heads(groups, _norm(layer.input_layernorm, kind), turn, first)


def _mixture(mlp: Any) -> Mixture | None:
    layers = [mlp.switch_mlp[name] for name in ("gate_proj", "up_proj", "down_proj")]
    held = [p for p in map(_stack, layers) if p is not None]
    if len(held) < 3 or mlp.sharding_group is not None or not _alike(held[0], held[1]):
        return None
    if mlp.num_experts > MOST_EXPERTS or mlp.top_k > MOST_CHOSEN:
        return None
    gate, up, down = held
    return Mixture(gate, up, down, mlp.top_k, bool(mlp.norm_topk_prob))


def _norm(module: Any, kind: Kind) -> Norm:
    gain = 1.0 + module.weight if kind.shifted else module.weight
    mx.eval(gain)
    return Norm(gain, float(module.eps))


def _plain(layer: Any) -> Packed | None:
    return None if "bias" in layer else packed(layer)


def _stack(layer: Any) -> Packed | None:
    """What the own kernels hold of experts, if they hold them whole and unturned."""
    if not isinstance(layer, PackedSwitchLinear) or layer.swapped or "bias" in layer:
        return None
    placed = layer.experts
    if placed.kernel is not own or not placed.handle.plain:
        return None
    found: Packed = placed.handle.packed
    return found


def _alike(one: Packed, other: Packed) -> bool:
    return (one.stem, one.constants, one.shape) == (other.stem, other.constants, other.shape)


def _agrees(layer: Any, step: Step) -> bool:
    """Whether a layer computed both ways gives the same; asked once for layers made of the same kernels."""
    weights = [p for p in (step.out, step.down, *(step.glu or ())) if p is not None]
    weights += [p for each in (step.heads.groups if step.heads else ()) for p in each]
    weights += [step.mixture.gate, step.mixture.down] if step.mixture else []
    dtype = layer.input_layernorm.weight.dtype
    made = tuple((p.stem, p.constants) for p in weights)
    key = (registry.device(), type(layer).__module__, made, step.mixture is None, str(dtype))
    if key not in _VERDICTS:
        wrong = _difference(layer, step, dtype)
        _VERDICTS[key] = not wrong
        if wrong:
            names = "+".join(sorted({p.stem for p in weights}))
            warnings.warn(
                f"localq's fused kernels for {names} on {registry.device()} {wrong}; using a launch for every step.",
                RuntimeWarning,
                stacklevel=4,
            )
    return _VERDICTS[key]


def _difference(layer: Any, step: Step, dtype: mx.Dtype) -> str:
    """What is wrong with the second token of a layer, "" if nothing; activations so small that the residual is."""
    from mlx_lm.models.cache import KVCache

    width = layer.input_layernorm.weight.size
    draws = np.random.default_rng(0).standard_normal((2, 1, 1, width)).astype(np.float32) * 1e-2
    first, second = (mx.array(d).astype(dtype) for d in draws)
    joined = step.heads is not None and step.heads.joined
    caches = KVCache(), paired()() if joined else KVCache()
    try:
        for cache in caches:
            mx.eval(layer(first, None, cache))
        want, got = (
            np.asarray(y.astype(mx.float32))
            for y in (layer(second, None, caches[0]), step(layer, second, None, caches[1]))
        )
    except (RuntimeError, ValueError) as error:  # MLX reports what Metal's compiler says when the result is evaluated
        return f"do not run ({(str(error).splitlines() or [type(error).__name__])[0][:200]})"
    off, size = (float(np.sqrt(np.mean(a**2))) for a in (got - want, want))
    right = np.isfinite(got).all() and off <= max(registry.tolerance(dtype, registry.device()), 1e-3) * size
    return "" if right else f"disagree with mlx-lm's layer by {off / max(size, 1e-30):.1e}"
