"""Jamba: experts weighted by a softmax over all of them, and the layers that have experts.

mlx-lm normalises the weights of the chosen experts; the authors do not. Layers with experts are those with
`i % period == offset`; mlx-lm adds the offset to i, which is the same for the published models' period of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import jamba

    @dataclass
    class ModelArgs(jamba.ModelArgs):
        def __post_init__(self) -> None:
            super().__post_init__()  # type: ignore[no-untyped-call]
            self.expert_layer_offset = -self.expert_layer_offset % self.expert_layer_period

    class Experts(jamba.JambaSparseMoeBlock):
        def __call__(self, x: mx.array) -> mx.array:
            weights = mx.softmax(self.router(x), axis=-1, precise=True)
            k = self.num_experts_per_tok
            chosen = mx.stop_gradient(mx.argpartition(-weights, kth=k - 1, axis=-1)[..., :k])
            outputs = self.switch_mlp(x, chosen)
            out: mx.array = (outputs * mx.take_along_axis(weights, chosen, axis=-1)[..., None]).sum(axis=-2)
            return out

    class Model(jamba.Model):
        def __init__(self, args: ModelArgs) -> None:
            super().__init__(args)
            for layer in self.layers:
                if isinstance(layer.feed_forward, jamba.JambaSparseMoeBlock):
                    layer.feed_forward = Experts(args)

    return Model, ModelArgs
