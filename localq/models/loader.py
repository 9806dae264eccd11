"""A checkpoint's packed tensors placed into an mlx-lm architecture.

The architecture's own `sanitize` decides which stored rows become which parameter; it sees provenance instead of
weights (see provenance.py), so no packed tensor is decoded, copied or known by name here. Then every Linear,
Embedding, SwitchLinear and MultiLinear is replaced by its packed twin and every other parameter delivered dense.
Each parameter must be given exactly once and in its shape, or the load is refused.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.embedding import Embedding
from mlx.nn.layers.linear import Linear
from mlx.utils import tree_flatten, tree_unflatten

from localq.checkpoints.base import Checkpoint
from localq.checkpoints.towers import WHY
from localq.errors import CheckpointError, LocalqError, UnsupportedError
from localq.formats import find
from localq.kernels import registry
from localq.kernels.residency import release_all
from localq.models.architecture import build, check_config, decoded_first, read_directly, renamed
from localq.models.experts import stacked
from localq.models.linear import PackedEmbedding, PackedLinear, PackedMultiLinear, PackedSwitchLinear
from localq.models.provenance import Ledger, Traced
from localq.models.report import report


def load_model(checkpoint: Checkpoint, dtype: mx.Dtype | None = None) -> tuple[Module, dict[str, Any]]:
    """The model of a checkpoint, its weights still packed, and its config; `model.report` says what became of them.

    Args:
        checkpoint: opened; stays mapped as long as the model lives, also after `close()`.
        dtype: of the activations; default float32 on a CPU and the checkpoint's own 16-bit type on a GPU.

    Raises:
        UnsupportedError: an architecture, or a packing of it, localq cannot run.
        CheckpointError: config and tensors contradict each other; missing or unexpected tensors are named.
    """
    config = checkpoint.config
    if config is None or checkpoint.unsupported:
        raise refusal(checkpoint)
    check_config(config, checkpoint.specs)
    model = build(config)
    load = _Load(model, str(config["model_type"]), dtype or _activation_dtype(checkpoint), Ledger())
    text = checkpoint.text_specs
    towers = {name: WHY for name in checkpoint if name not in text}
    with _keeping_nothing():
        given = load.sanitized(checkpoint, text)
        idle = {**towers, **load.dropped(given), **load.drop_zero_biases(given, checkpoint)}
        load.check(given)
        dense = load.place(given)
        model.report = report(model, dense, {**checkpoint.unused, **idle})
        model.eval()
        model.freeze()
        mx.eval(model.parameters())
    return model, dict(config)


@contextlib.contextmanager
def _keeping_nothing() -> Iterator[None]:
    """MLX gives freed memory back inside, instead of keeping it for arrays of the same size: no two are the same."""
    before = mx.set_cache_limit(0)
    try:
        yield
    finally:
        mx.set_cache_limit(before)


def refusal(checkpoint: Checkpoint) -> UnsupportedError:
    """Why a checkpoint that cannot be run cannot; a GGUF may run elsewhere, which is said once."""
    reason = checkpoint.unsupported or f"'{checkpoint.path}' has no config; it can be read, not run."
    elsewhere = checkpoint.container == "gguf" and checkpoint.unsupported and "`localq explain`" not in reason
    if not elsewhere or "--engine llama" in reason:
        return UnsupportedError(reason)
    return UnsupportedError(reason, "llama.cpp may run it: pip install 'localq[llama]', then --engine llama.")


def _activation_dtype(checkpoint: Checkpoint) -> mx.Dtype:
    config = checkpoint.config or {}
    stored = config.get("torch_dtype") or config.get("dtype")
    if not isinstance(stored, str):
        found = set(checkpoint.formats)
        stored = "float16" if "f16" in found and "bf16" not in found else "bfloat16"
    return registry.activation_dtype(stored)


DENSE_BYTES = 64 << 20  # float32 size up to which a packed parameter outside the known layers is decoded
Given = dict[str, Traced | mx.array]


@dataclass(frozen=True)
class _Load:
    """One load: the model being filled, and the ledger of who is who."""

    model: Module
    model_type: str
    dtype: mx.Dtype
    ledger: Ledger

    def sanitized(self, checkpoint: Checkpoint, names: Iterable[str]) -> Given:
        """Parameter path -> rows it is made of, or its values where it has one axis or was declared dense."""
        wanted = self._wanted()
        shown = _whole({renamed(self.model_type, name, wanted): self._show(checkpoint, name) for name in names})
        sanitize = getattr(self.model, "sanitize", None)
        if sanitize is not None:
            try:
                shown = sanitize(shown)
            except Exception as error:  # architectures fail in their own ways on what they did not expect
                raise UnsupportedError(
                    f"mlx-lm's '{self.model_type}' cannot take these tensors as stored: "
                    f"{type(error).__name__}: {error}."
                ) from error
        shown = stacked(shown, wanted)
        given: Given = {}
        for name in list(shown):
            value = shown.pop(name)
            # Stacked experts are bare parameters in some Hugging Face models: `experts.gate_up_proj`, no `.weight`.
            path = name if name in wanted or f"{name}.weight" not in wanted else f"{name}.weight"
            given[path] = self._read_back(path, value)
        return given

    def dropped(self, given: Given) -> dict[str, str]:
        """Matrices that the architecture's own `sanitize` left out (blocks that predict further tokens, say)."""
        used = {
            name for value in given.values() if isinstance(value, Traced) for name in self.ledger.sources(value.rows)
        }
        return {
            name: f"mlx-lm's '{self.model_type}' has no use for it" for name in self.ledger.names if name not in used
        }

    def _show(self, checkpoint: Checkpoint, name: str) -> mx.array:
        spec = checkpoint.specs[name]
        form = find(spec.format)
        if form is None or len(spec.shape) < 2 or decoded_first(self.model_type, name, form.family):
            t = checkpoint[name]
            shown = mx.array(t.dequantize())
            release_all(t)
            return shown
        return self.ledger.enter(name, spec.shape, form.family, partial(checkpoint.__getitem__, name))

    def _read_back(self, path: str, value: mx.array) -> Traced | mx.array:
        traced = self.ledger.trace(value)
        if traced is None and value.dtype == mx.int32:
            raise self._untraceable(path, value)
        return value if traced is None else traced

    def _untraceable(self, path: str, value: mx.array) -> UnsupportedError:
        return UnsupportedError(
            f"mlx-lm's '{self.model_type}' reshapes or edits the packed weights of '{path}' while loading "
            f"({value.dtype} {value.shape}); localq can follow whole rows only."
        )

    def _wanted(self) -> dict[str, mx.array]:
        return dict(tree_flatten(self.model.parameters()))

    def check(self, given: Given) -> None:
        """Every parameter exactly once, each in its shape."""
        wanted = self._wanted()
        missing, unexpected = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
        if missing or unexpected:
            raise CheckpointError(
                f"The tensors do not fit the architecture '{self.model_type}': "
                f"{_some(missing)} missing, {_some(unexpected)} unexpected."
            )
        for path, value in given.items():
            have = self._shape(path, value)
            if have != wanted[path].shape:
                if not isinstance(value, Traced) and value.ndim > 1:
                    raise self._untraceable(path, value)
                raise CheckpointError(f"'{path}' is stored as {have}; the config makes it {wanted[path].shape}.")

    def _shape(self, path: str, value: Traced | mx.array) -> tuple[int, ...]:
        if not isinstance(value, Traced):
            return tuple(value.shape)
        widths = self.ledger.widths(value.rows)
        if len(widths) != 1:
            raise CheckpointError(f"'{path}' is made of tensors with different in_features: {sorted(widths)}.")
        *lead, rows = value.rows.shape
        if value.half is not None:
            widths = {width // 2 for width in widths}
        return (*lead, *widths, rows) if value.swapped else (*lead, rows, *widths)

    def drop_zero_biases(self, given: Given, checkpoint: Checkpoint) -> dict[str, str]:
        """Old GPTQ files give every layer a bias, of zeros where the architecture has none: such ones mean nothing."""
        wanted, idle = self._wanted(), {}
        for path in sorted(given.keys() - wanted.keys()):
            value, weight = given[path], f"{path.removesuffix('bias')}weight"
            if path.endswith(".bias") and isinstance(value, mx.array) and isinstance(given.get(weight), Traced):
                if not mx.any(value != 0).item():
                    idle[path] = "a bias of zeros, which the architecture has not"
                    del given[path]
        return idle

    def place(self, given: Given) -> list[str]:
        """Replace the layers that can hold packed weights, deliver the rest dense: their paths."""
        rest = dict(given)
        for path, module in list(self.model.named_modules()):
            value = rest.get(f"{path}.weight")
            if type(module) not in _TWINS or not isinstance(value, Traced) or read_directly(self.model_type, path):
                continue
            if value.swapped and type(module) is Embedding:
                continue
            bias = rest.pop(f"{path}.bias", None)
            dense_bias = None if bias is None else self._dense(f"{path}.bias", bias)
            with _naming(path):
                _replace(self.model, path, self._twin(path, module, value, dense_bias))
            del rest[f"{path}.weight"]
        for path, left in rest.items():
            self._check_dense(path, left)
        dense = [(path, self._dense(path, left)) for path, left in rest.items()]
        self.model.update(tree_unflatten(dense))
        return list(rest)

    def _twin(self, path: str, module: Module, value: Traced, bias: mx.array | None) -> Module:
        if isinstance(module, Linear):
            is_head = path.rpartition(".")[2] in ("lm_head", "output", "embed_out")
            whole = value.swapped or value.half is not None
            pieces = [self.ledger.matrix(value.rows, value.half)] if whole else self.ledger.pieces(value.rows)
            return PackedLinear(pieces, self.dtype, bias, is_head=is_head, swapped=value.swapped)
        if isinstance(module, Embedding):
            return PackedEmbedding(self.ledger.matrix(value.rows, value.half), self.dtype)
        matrices = [self.ledger.matrix(rows, value.half) for rows in value.rows]
        if isinstance(module, _multi_linear()):
            return PackedMultiLinear(matrices, self.dtype, value.swapped)
        return PackedSwitchLinear(matrices, self.dtype, bias, value.swapped)

    def _check_dense(self, path: str, value: Traced | mx.array) -> None:
        """Packed weights are not blown up behind anyone's back: small ones (routers) and declared ones only."""
        if not isinstance(value, Traced) or read_directly(self.model_type, path.removesuffix(".weight")):
            return
        families = self.ledger.families(value.rows)
        size = 4 * math.prod(self._shape(path, value))
        if families != {"float"} and size > DENSE_BYTES:
            raise UnsupportedError(
                f"mlx-lm's '{self.model_type}' has no layer for '{path}' that localq could keep packed; "
                f"dequantised it would take {size / 1e6:.0f} MB."
            )

    def _dense(self, path: str, value: Traced | mx.array) -> mx.array:
        if isinstance(value, Traced):
            dense = mx.array(self.ledger.dequantize(value.rows, value.half))
            value = dense.swapaxes(-1, -2) if value.swapped else dense
        casts = getattr(self.model, "cast_predicate", None)  # mlx-lm's own list of what must stay float32
        return value.astype(self.dtype) if casts is None or casts(path) else value.astype(mx.float32)


class _Twins:
    """The exact classes that have a packed twin (subclasses do things of their own and stay dense)."""

    def __contains__(self, kind: type) -> bool:
        from mlx_lm.models.switch_layers import SwitchLinear

        return kind in (Linear, Embedding, SwitchLinear, _multi_linear())


_TWINS = _Twins()


def _whole(shown: dict[str, mx.array]) -> dict[str, mx.array]:
    """Matrices that a container holds in parts of different formats (`qkv_proj.parts.0.weight`), in one piece each."""
    parts: dict[str, list[mx.array]] = {}
    for name in sorted(name for name in shown if ".parts." in name):
        stem, _, rest = name.partition(".parts.")
        parts.setdefault(f"{stem}.{rest.partition('.')[2]}", []).append(shown.pop(name))
    return {**shown, **{name: mx.concatenate(pieces, axis=0) for name, pieces in parts.items()}}


def _multi_linear() -> type:
    from mlx_lm.models.mla import MultiLinear

    return MultiLinear


def _replace(model: Module, path: str, twin: Module) -> None:
    *above, last = path.split(".")
    parent: Any = model
    for step in above:
        parent = parent[int(step)] if isinstance(parent, list) else parent[step]
    if isinstance(parent, list):
        parent[int(last)] = twin
    else:
        parent[last] = twin


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    return f"{len(names)} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Errors about a tensor say which parameter it was for."""
    try:
        yield
    except LocalqError as error:
        raise type(error)(f"'{path}': {error.message}", error.hint) from error
