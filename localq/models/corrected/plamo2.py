"""PLaMo 2: time steps are not cut off; mlx-lm's default cuts at 0.001 and 100."""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import plamo2
    from mlx_lm.models.ssm import ssm_update

    class Mamba(plamo2.Mamba):
        def _ssm(
            self, x: mx.array, B: mx.array, C: mx.array, dt: mx.array, cache: Any, mask: mx.array | None
        ) -> mx.array:
            batch, tokens = x.shape[:2]
            y, state = ssm_update(
                x.reshape(batch, tokens, self.num_heads, -1),
                self.A_log,
                B.reshape(batch, tokens, 1, -1),
                C.reshape(batch, tokens, 1, -1),
                self.D,
                dt,
                self.dt_bias,
                cache[1] if cache else None,
                (0.0, float("inf")),
                mask,
                cache.lengths if cache else None,
            )
            if cache:
                cache[1] = state
            out: mx.array = y.reshape(batch, tokens, -1)
            return out

    class Model(plamo2.Model):
        def __init__(self, args: plamo2.ModelArgs) -> None:
            super().__init__(args)
            for layer in self.layers:
                if layer.is_mamba:
                    layer.mixer = Mamba(args)

    return Model, plamo2.ModelArgs
