"""GLM-5: all norms of the attention take the config's epsilon (1e-5), the indexer's 1e-6; mlx-lm has DeepSeek's.

GLM-5.2 (`indexer_types`): a layer that is "shared" has no indexer and looks where the last one that is "full" looked,
which mlx-lm does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module

from localq.errors import UnsupportedError


class Choice:
    """What the last indexer of this pass chose, one object for the whole model."""

    indices: mx.array | None = None


class Shared(Module):
    """In an indexer's place: the last choice again. Its cache counts tokens and holds nothing."""

    def __init__(self, choice: Choice) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # mlx leaves its base class untyped
        self._choice = choice

    def __call__(self, x: mx.array, qr: mx.array, mask: mx.array | None, cache: Any = None) -> mx.array | None:
        if cache is not None:
            nothing = mx.zeros((x.shape[0], 1, x.shape[1], 0), x.dtype)
            cache.update_and_fetch(nothing, nothing)
        return self._choice.indices


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import deepseek_v32, glm_moe_dsa

    @dataclass
    class ModelArgs(glm_moe_dsa.ModelArgs):
        indexer_types: list[str] | None = None

    class Full(deepseek_v32.Indexer):
        def __init__(self, args: Any, choice: Choice) -> None:
            super().__init__(args)
            self._choice = choice

        def __call__(self, x: mx.array, qr: mx.array, mask: mx.array | None, cache: Any = None) -> mx.array | None:
            self._choice.indices = super().__call__(x, qr, mask, cache)
            return self._choice.indices

    class Model(glm_moe_dsa.Model):
        def __init__(self, args: Any) -> None:
            super().__init__(args)
            kinds, choice = _kinds(args), Choice()
            for layer, kind in zip(self.layers, kinds, strict=True):
                layer.self_attn.indexer = Full(args, choice) if kind == "full" else Shared(choice)
                if kind == "full":
                    layer.self_attn.indexer.k_norm.eps = 1e-6
                for norm in (layer.self_attn.q_a_layernorm, layer.self_attn.kv_a_layernorm):
                    norm.eps = args.rms_norm_eps

    return Model, ModelArgs


def _kinds(args: Any) -> list[str]:
    kinds = args.indexer_types or ["full"] * args.num_hidden_layers
    if len(kinds) < args.num_hidden_layers or kinds[0] != "full" or set(kinds) - {"full", "shared"}:
        raise UnsupportedError(
            f"The config's indexer_types is {str(kinds)[:80]}; expected full and shared, full first."
        )
    return list(kinds[: args.num_hidden_layers])
