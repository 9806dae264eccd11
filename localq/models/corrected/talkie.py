"""Talkie with a head that can be packed, and in GGUF's form (see checkpoints/architectures/talkie.py).

mlx-lm keeps the head as a bare array; here it is a linear layer under the name `lm_head.weight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.nn.layers.linear import Linear


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import talkie

    @dataclass
    class ModelArgs(talkie.ModelArgs):
        half_negated: bool = False
        lm_head_gain: float | None = None  # where it is no tensor

    class Model(talkie.Model):
        args: Any
        lm_head: Any
        lm_head_gain: Any

        def __init__(self, args: Any) -> None:
            super().__init__(args)
            self.lm_head = Linear(args.hidden_size, args.vocab_size, bias=False)
            if args.lm_head_gain is not None:
                del self.lm_head_gain
            if args.half_negated:
                for layer in self.layers:
                    layer.attn._rope_freqs = -layer.attn._rope_freqs

        def __call__(self, inputs: mx.array, cache: Any = None, input_embeddings: Any = None) -> mx.array:
            logits: mx.array = self.lm_head(self.model(inputs, cache, input_embeddings))
            gain = self.args.lm_head_gain
            out: mx.array = self.lm_head_gain(logits) if gain is None else logits * gain
            return out

        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            """The published head has no suffix."""
            found: dict[str, mx.array] = super().sanitize(weights)  # type: ignore[no-untyped-call]
            return {"lm_head.weight" if name == "lm_head" else name: w for name, w in found.items()}

    return Model, ModelArgs
