"""Mamba-2: gated norms a group of channels at a time, and every norm with the config's epsilon.

mlx-lm norms all channels at once, which is the same only where n_groups is 1 (Codestral Mamba has 8), and gives the
layers' norms MLX's own epsilon.
"""

from __future__ import annotations

from typing import Any


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import mamba2
    from mlx_lm.models.nemotron_h import MambaRMSNormGated

    class Model(mamba2.Model):
        def __init__(self, args: mamba2.ModelArgs) -> None:
            super().__init__(args)
            for layer in self.layers:
                width, eps = layer.mixer.intermediate_size, args.layer_norm_epsilon
                layer.mixer.norm = MambaRMSNormGated(width, eps, width // args.n_groups)
                layer.norm.eps = eps

    return Model, mamba2.ModelArgs
