"""Heads that are the embedding, for architectures that multiply by `embed_tokens.weight`: it may be a packed matrix."""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def tied_head(base: Any) -> Any:
    """A Model of mlx-lm's that asks its embedding for the product where the two are tied."""

    class Model(base):  # type: ignore[misc]  # the base is mlx-lm's, known at run time only
        def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
            if not self.args.tie_word_embeddings:
                out: mx.array = super().__call__(inputs, cache)
            else:
                out = self.model.embed_tokens.as_linear(self.model(inputs, cache))
            return out

    return Model
